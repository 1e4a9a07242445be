"""Make an image of a report's first pages for the documentation: ``python -m research.report_preview FOLDER --out IMAGE``."""

import argparse
import io
from pathlib import Path

from PIL import Image

from editor.io.figures import Figure, Picture
from editor.publishing.charts import make_charts
from editor.publishing.document.assemble import build_document
from editor.publishing.export import read_report
from editor.publishing.filenames import REPORT_PDF
from editor.publishing.pdf import render_pages

PAGES, GAP_PIXELS, PIXELS_PER_INCH = 4, 12, 66


def render_preview(folder: Path) -> Image.Image:
    """Render the first pages of a published folder's report side by side."""
    report = read_report(folder)
    sheets = [Picture(path.stem, path.read_bytes(), "", path.stem) for path in sorted(folder.glob("figures/*.png"))]
    figures: list[Figure] = [*sheets, *make_charts(report)]
    made = [
        Image.open(io.BytesIO(png))
        for png in render_pages(build_document(report, figures), report.created_at, figures, PIXELS_PER_INCH)
    ]
    shown = made[:PAGES]
    width, height = shown[0].size
    picture = Image.new("RGB", (len(shown) * (width + GAP_PIXELS) - GAP_PIXELS, height), "#8e8e93")
    for place, page in enumerate(shown):
        picture.paste(page, (place * (width + GAP_PIXELS), 0))
    return picture


def main() -> None:
    """Write the image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help=f"folder of a published edit; its {REPORT_PDF} is rendered again")
    parser.add_argument("--out", type=Path, default=Path("docs/images/report.webp"))
    arguments = parser.parse_args()
    render_preview(arguments.folder).save(arguments.out, quality=75, method=6)


if __name__ == "__main__":
    main()
