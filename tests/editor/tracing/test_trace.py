"""Sites of a planted encoder, where the answer is known."""

from contextlib import ExitStack

import pytest
import torch
from transformers import CLIPTextModel

from editor.prompts import Concept, Destination, PromptBook, Removal
from editor.tracing.sites import Site, all_sites, embeddings, module_of, record, rewriting
from editor.tracing.trace import DRAWS, corruption, restoration, subjects

FOX = Removal(Concept("fox"), Destination("dog face", "replacement"))


def test_recording_changes_nothing(encoder: CLIPTextModel, book: PromptBook) -> None:
    ids = book.ids(["a fox", "a frog"])
    with torch.no_grad():
        plain = encoder(ids).last_hidden_state
    hidden, seen = record(encoder, ids, all_sites(encoder))
    torch.testing.assert_close(hidden, plain, rtol=0, atol=0)
    assert set(seen) == {Site(layer, kind) for layer in range(3) for kind in ("self_attention", "mlp")}


def test_noise_touches_the_subject_only(encoder: CLIPTextModel, book: PromptBook) -> None:
    prompts = subjects(book, FOX)
    rewrite = corruption(encoder, prompts, torch.Generator().manual_seed(0))
    clean = embeddings(encoder)(prompts.ids)
    changed = (rewrite(clean) != clean).any(-1)
    assert torch.equal(changed, prompts.spans)
    assert set(prompts.spans.sum(1).tolist()) == {2}, "fox is two tokens"
    assert not torch.equal(rewrite(clean)[0], rewrite(clean)[1]), f"{DRAWS} draws differ"


def test_restoring_every_site_of_a_token_restores_what_follows_from_it(
    encoder: CLIPTextModel, book: PromptBook
) -> None:
    """With the embedding too, all of a token's own contributions are clean, so its residual stream is."""
    prompts = subjects(book, FOX)
    hidden, clean = record(encoder, prompts.ids, all_sites(encoder))
    whole = embeddings(encoder)(prompts.ids).detach()
    rows = torch.arange(len(prompts.last))
    corrupt = corruption(encoder, prompts, torch.Generator().manual_seed(0))

    def corrupt_but_last(embedded: torch.Tensor) -> torch.Tensor:
        noisy = corrupt(embedded)
        noisy[rows, prompts.last] = whole[rows, prompts.last]
        return noisy

    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(rewriting(embeddings(encoder), corrupt_but_last))
        for site in all_sites(encoder):
            stack.enter_context(rewriting(module_of(encoder, site), restoration(clean[site], prompts.last)))
        restored = encoder(prompts.ids).last_hidden_state
    torch.testing.assert_close(restored[rows, prompts.last], hidden[rows, prompts.last], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(restored, hidden, atol=1e-3), "the first subject token stays corrupted"


def test_hooks_are_removed_even_when_a_run_fails(encoder: CLIPTextModel) -> None:
    module = module_of(encoder, Site(0, "mlp"))
    with pytest.raises(RuntimeError, match="planned"), rewriting(module, lambda output: output):
        raise RuntimeError("planned")
    assert not module._forward_hooks
