"""Render the browser page: images in one sprite sheet, heat maps as bytes that the script colors, all in one file."""

import base64
import io
import json
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image as Pillow

from editor.features.browser.latent_cards import BrowserContents, BrowserInput, LatentCard, build_contents
from editor.features.sae.metrics import density_histogram
from editor.io.atomic import write_bytes

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL_PIXELS = 64
"""Side of a thumbnail on the sprite sheet."""


def write_browser_page(source: BrowserInput, path: Path, seed: int = 0) -> None:
    """Write the browser page."""
    write_bytes(path, render_page(source, build_contents(source, seed)).encode())


def render_page(source: BrowserInput, contents: BrowserContents) -> str:
    """Render the HTML. Labels and titles are untrusted and are escaped."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.globals["inline"] = lambda name: Markup((TEMPLATES / name).read_text())  # our own files
    used = sorted({item for card in contents.latents for item in card_images(card)})
    return environment.get_template("browser.html.j2").render(
        title=source.title,
        figures=summary_figures(source.card),
        data=Markup(script_json(page_data(source, contents, used))),
        sheet=data_uri(image_sheet([source.images[item] for item in used])),
    )


def card_images(card: LatentCard) -> list[int]:
    """List the images of a card."""
    return [item for group in card.groups for item in group]


def page_data(source: BrowserInput, contents: BrowserContents, used: list[int]) -> dict[str, Any]:
    """Return the data of the page's script; ``used`` are the items on the sprite sheet."""
    live = [card for card in contents.latents if card.top]
    rows = int(contents.activations.shape[0] * contents.activations.shape[1])
    counts, edges = density_histogram([card.density for card in contents.latents], rows)
    sheet_index = {item: number for number, item in enumerate(used)}
    return {
        "grid": source.grid,
        "columns": sheet_columns(len(used)),
        "thumbnail": THUMBNAIL_PIXELS,
        "scale": contents.scale,
        "dead": len(contents.latents) - len(live),
        "density": {"counts": counts, "edges": edges},
        "captions": [source.caption(item) for item in used],
        "latents": [card_data(card, sheet_index, contents) for card in live],
        "words": source.texts.words if source.texts else [],
        "nearness": encode_similarity(contents, live),
    }


def card_data(card: LatentCard, sheet_index: dict[int, int], contents: BrowserContents) -> dict[str, Any]:
    """Return a card for the page's script; heat maps are concatenated in the order of its images."""
    items = card_images(card)
    heat = contents.activations[items][:, :, card.latent].float() / contents.scale
    strengths = contents.activations[items].amax(1)[:, card.latent].float()
    return {
        "id": card.latent,
        "density": card.density,
        "images": card.images,
        "groups": [[sheet_index[item] for item in group] for group in card.groups],
        "strengths": [round(value, 3) for value in strengths.tolist()],
        "heat": base64.b64encode(heatmap_bytes(heat)).decode(),
        "histogram": card.histogram,
        "labels": {kind: [name, round(share, 2)] for kind, (name, share) in card.labels.items()},
        "words": [[word, round(value, 2)] for word, value in card.words],
    }


def heatmap_bytes(shares: torch.Tensor) -> bytes:
    """Encode shares of the scale as bytes 0 to 255; any positive share is at least 1."""
    values = (shares.clamp(0, 1) * 255).ceil().to(torch.uint8)
    return values.numpy().tobytes()


def encode_similarity(contents: BrowserContents, live: list[LatentCard]) -> str:
    """Encode ``(live latents, words)`` cosines as base64 bytes, with 128 for 0."""
    if contents.similarity is None:
        return ""
    values = (contents.similarity[[card.latent for card in live]].clamp(-1, 1) * 127 + 128).round().to(torch.uint8)
    return base64.b64encode(values.numpy().tobytes()).decode()


def sheet_columns(count: int) -> int:
    """Return the number of columns of an approximately square sheet."""
    return max(1, ceil(sqrt(count)))


def image_sheet(images: list[np.ndarray]) -> Pillow.Image:
    """Draw all images on one sprite sheet."""
    across = sheet_columns(len(images))
    whole = Pillow.new("RGB", (across * THUMBNAIL_PIXELS, max(1, ceil(len(images) / across)) * THUMBNAIL_PIXELS))
    for number, image in enumerate(images):
        small = Pillow.fromarray(image).resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Pillow.Resampling.BICUBIC)
        whole.paste(small, (number % across * THUMBNAIL_PIXELS, number // across * THUMBNAIL_PIXELS))
    return whole


def data_uri(image: Pillow.Image) -> str:
    """Encode an image as a WebP data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=88, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def script_json(data: dict[str, Any]) -> str:
    """Serialize to JSON that cannot close the surrounding script element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def summary_figures(card: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the metrics in the page's header, from the autoencoder's card."""
    held_out, stability = card.get("held_out", {}), card.get("stability", {})
    named = [
        ("held-out FVU", held_out.get("fvu"), "{:.3f}"),
        ("active latents", held_out.get("l0"), "{:.1f}"),
        ("dead", held_out.get("dead"), "{:.1%}"),
        ("dense", held_out.get("dense"), "{:.1%}"),
        ("Moran's I", card.get("morans_i"), "{:.2f}"),
        ("found by other seeds", stability.get("found_by_two_thirds"), "{:.0%}"),
    ]
    return [(name, form.format(value)) for name, value, form in named if value is not None]
