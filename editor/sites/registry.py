"""The sites of a model: which kinds it has, and where each is found."""

from collections.abc import Callable, Mapping, Sequence

from api_schemas.edits import EditOptions, SiteName
from editor.checkpoints import Checkpoint, OutputProjection
from editor.errors import SiteError
from editor.prompts import PromptBuilder
from editor.sites.cross_attention import find_cross_attention
from editor.sites.edit_site import EditSite
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.sites.pooled_projection import find_pooled_projection
from editor.sites.stream_site import StreamSite
from editor.sites.text_gate import find_sequence_encoder, find_text_gate

FIND_SITE: Mapping[SiteName, Callable[[Checkpoint, Sequence[PromptBuilder]], StreamSite | None]] = {
    "cross_attention": find_cross_attention,
    "text_gate": find_text_gate,
    "pooled_projection": find_pooled_projection,
}


def denoiser_sites(checkpoint: Checkpoint, builders: Sequence[PromptBuilder], options: EditOptions) -> list[StreamSite]:
    """Return the sites of a model's denoiser that the options name; ``default`` and ``all`` name those that the model has.

    Raises:
        SiteError: the model lacks a named site, or for ``all`` any site of a denoiser.
    """
    wanted = options.denoiser_sites
    if not checkpoint.encoders:
        check_without_clip(checkpoint, options)
    found = {name: FIND_SITE[name](checkpoint, builders) for name in wanted if name in FIND_SITE}
    sites = {name: site for name, site in found.items() if site is not None}
    missing = [name for name in wanted if name not in sites]
    optional = options.sites in ("default", "auto") or (options.sites == "all" and sites)
    if missing and not optional:
        present = ", ".join(sites) or "no site of a denoiser that can be edited"
        raise SiteError(
            f"{checkpoint.path} has no site {missing[0]!r}; it has {present}.",
            field="options.sites",
            remedy='Send "all" for every site that the model has, or leave sites out to edit those of its family.',
        )
    return [sites[name] for name in wanted if name in sites]


def check_without_clip(checkpoint: Checkpoint, options: EditOptions) -> None:
    """Raise SiteError if options name the text encoder of a model that is not read through CLIP, or nothing but it."""
    if options.sites in ("default", "auto", "all") and options.denoiser_sites:
        return
    if options.layers or not options.denoiser_sites:
        raise SiteError(
            f"{checkpoint.path} has no CLIP text encoder that could be edited.",
            field="options.sites",
            remedy='Send "default", which edits where the denoiser reads the text, with a method that can.',
        )


def first_site(checkpoint: Checkpoint, builders: Sequence[PromptBuilder]) -> EditSite:
    """Return the attention output of the first layer of a model's text encoder; without CLIP, the text gate.

    Raises:
        SiteError: the model has neither.
    """
    if checkpoint.encoders:
        model = LazyCLIPTextModel(checkpoint.encoders[0])
        return Site(model, model, OutputProjection(0))
    return denoiser_sites(checkpoint, builders, EditOptions.model_validate({"sites": ["text_gate"]}))[0]


def name_sites(options: EditOptions, checkpoint: Checkpoint) -> EditOptions:
    """Return the options with ``default`` replaced by the sites that it stands for in a model, as a ledger stores them."""
    if options.sites != "default":
        return options
    names = options.denoiser_sites if find_sequence_encoder(checkpoint) else ()
    encoder = ["text_encoder"] if checkpoint.encoders else []
    return EditOptions.model_validate(options.model_dump() | {"sites": [*encoder, *names] if names else [0]})
