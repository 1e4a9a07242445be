"""Fetch the published artwork from npm and rasterise it into the sprite sheet. Step of ``python -m research.emoji.build``."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from editor.emoji.artwork import SIZE, save_sheet
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES

PACKAGES = (
    "openmoji@17.0.0",
    "@twemoji/svg@15.0.0",
    "emoji-datasource-google@16.0.0",
    "@lobehub/fluent-emoji-3d@1.1.0",
)
MARGIN = 3
"""Pixels around full-bleed artwork, so that shifts of 2 pixels crop nothing. OpenMoji has its own margin."""


def install_packages(folder: Path) -> Path:
    """``npm install`` the artwork packages (pinned, without their scripts) into ``folder``; return their root."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
    subprocess.run(command, check=True)
    return folder / "node_modules"


def load_codepoints(root: Path) -> dict[str, str]:
    """Return code points by annotation, as OpenMoji writes them (``1F98A``), without skin tones and extras."""
    index = json.loads((root / "openmoji/data/openmoji.json").read_text())
    return {e["annotation"]: e["hexcode"] for e in index if not e["skintone"] and not e["group"].startswith("extras")}


def rasterise_svg(path: Path, side: int) -> Image.Image:
    """Rasterise an SVG file to ``side`` pixels."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=path.read_text(), width=side, height=side)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def open_raster(path: Path, side: int) -> Image.Image:
    """Load a PNG or WebP file, resized with premultiplied alpha so that edges keep their colour."""
    picture = Image.open(path).convert("RGBA").convert("RGBa")
    return picture.resize((side, side), Image.Resampling.LANCZOS).convert("RGBA")


def find_file(folder: Path, code: str, suffix: str) -> Path:
    """Return the file of a code point. Foundries differ in whether the variation selector FE0F is part of the name."""
    plain = code.replace("-FE0F", "")
    names = (code, plain, f"{plain}-FE0F", code.lower(), plain.lower(), f"{plain.lower()}-fe0f")
    return next(path for name in names if (path := folder / f"{name}{suffix}").exists())


def pad_to_canvas(picture: Image.Image) -> np.ndarray:
    """Centre a picture on a transparent 64 x 64 canvas."""
    canvas = Image.new("RGBA", (SIZE, SIZE))
    canvas.paste(picture, ((SIZE - picture.width) // 2, (SIZE - picture.height) // 2))
    return np.asarray(canvas)


def make_rasterisers(root: Path) -> dict[str, Callable[[str], Image.Image]]:
    """Return for each style a function that rasterises a code point."""
    inner = SIZE - 2 * MARGIN
    fluent, noto = root / "@lobehub/fluent-emoji-3d/assets", root / "emoji-datasource-google/img/google/64"
    return {
        "openmoji": lambda code: rasterise_svg(find_file(root / "openmoji/color/svg", code, ".svg"), SIZE),
        "twemoji": lambda code: rasterise_svg(find_file(root / "@twemoji/svg", code, ".svg"), inner),
        "noto": lambda code: open_raster(find_file(noto, code, ".png"), inner),
        "fluent": lambda code: open_raster(find_file(fluent, code, ".webp"), inner),
        "ink": lambda code: rasterise_svg(find_file(root / "openmoji/black/svg", code, ".svg"), SIZE),
    }


def build_sheet(folder: Path) -> None:
    """Fetch, rasterise and save the sprite sheet that ships with the package."""
    root = install_packages(folder)
    codes, rasterise = load_codepoints(root), make_rasterisers(root)
    rows = [
        [pad_to_canvas(rasterise[style](codes[name])) for style in STYLES]
        for name in tqdm(OBJECT_NAMES, desc="artwork")
    ]
    save_sheet(np.array(rows))
