"""`expunge features group|steer|icon` on the embedded model."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from api_schemas.errors import UsageError
from editor.cli.features import features
from editor.emoji.composites import Artwork, Subject
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.errors import FeatureError
from editor.features.clip.workspace import SessionPaths, open_pipeline, parse_scales, parse_strengths
from editor.features.image_folder import read_image


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = Artwork().render([Subject(OBJECT_NAMES.index("fox"), 2, 2)])[0]
    file = tmp_path_factory.mktemp("picture") / "fox.png"
    Image.fromarray(((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(file)
    return file


def run(*arguments: object) -> str:
    done = CliRunner().invoke(features, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_decomposition_of_a_fox_has_a_fox_group(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "steered.png"
    text = run("steer", picture, "--threshold", 0.2, "--scale", "1=0", "--out", out, "--steps", 1, "--json")
    groups = json.loads(text.splitlines()[-1])["groups"]
    assert sum(group["mass"] for group in groups) == pytest.approx(1, abs=1e-3)
    assert groups[0]["nearest"] == "fox"
    with Image.open(out) as sheet:
        assert sheet.width > sheet.height


def test_icon_of_a_single_feature_is_written(tmp_path: Path) -> None:
    out = tmp_path / "icon.png"
    run("icon", 3, "--strengths", "0,1", "--steps", 1, "--out", out)
    assert out.stat().st_size > 0


def test_scales_and_strengths_are_parsed() -> None:
    assert parse_scales(["2=1.5", "1=0"], 3) == [0.0, 1.5, 1.0]
    assert parse_strengths("0,0.5,2") == (0.0, 0.5, 2.0)
    for wish in ("2", "x=1", "4=1", "0=1", "1=much"):
        with pytest.raises(UsageError):
            parse_scales([wish], 3)
    with pytest.raises(UsageError):
        parse_strengths("0,much")


def test_incomplete_options_and_unreadable_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be given together"):
        SessionPaths(clip=tmp_path).open(1, 1.0, 0)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UsageError):
        read_image(tmp_path / "text.png")


def test_transparent_pixels_are_composited_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 2), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.array_equal(read_image(tmp_path / "clear.png"), np.full((2, 4, 3), 255, np.uint8))


def test_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="does not contain a pipeline"):
        open_pipeline(tmp_path, None)
