"""`expunge prompts`: the review step."""

import json

import pytest
import typer
from typer.testing import CliRunner

from api_schemas.errors import UsageError
from editor.cli.prompts import ReviewedPrompt, mark_subject, prompts, review_removal
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(prompts)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_json_contains_every_name_and_prompt_of_the_edit() -> None:
    found = json.loads(run("hot dog=pizza", "style:ink", "--exclude", "hot dogs", "--json"))
    hot_dog, ink = found["removals"]
    names = [name["text"] for name in hot_dog["names"]]
    assert names[0] == "hot dog"
    assert "hotdog" in names
    assert "hot dogs" not in names
    for prompt in hot_dog["prompts"]:
        first, last = prompt["subject"]
        spelt = "".join(prompt["tokens"][first : last + 1]).replace("</w>", " ").strip()
        assert spelt.replace(" ", "") in {name.replace(" ", "") for name in names}
    assert ink["destination_source"] == "generic"


def test_listed_prompts_are_those_of_the_edit(builder: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"), spellings="auto")
    shown = [(prompt.text, prompt.means, prompt.weight) for prompt in review_removal(removal, builder).prompts]
    assert shown == [(p.concept.text, p.destination.text, p.weight) for p in builder.edit_pairs(removal)]


def test_table_shows_names_prompts_and_conflicts() -> None:
    shown = run("hot dog=pizza", "--preserve", "dog", "--alias", "hot dog=[red]one")
    assert "hot dog → pizza (replacement)" in shown
    assert "alias       [red]one" in shown
    assert "a picture of a ‹hot dog› → a picture of a pizza" in shown
    assert "warning" in shown
    assert "“dog”" in shown


def test_mark_subject_separates_the_tokens() -> None:
    prompt = ReviewedPrompt(text="", means="", tokens=["a</w>", "fo", "x</w>", "[b]</w>"], subject=(1, 2), weight=1)
    assert mark_subject(prompt) == "a [cyan]‹fo·x›[/] \\[b]"


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UsageError, match="model-dir"):
        run("fox", "--model", "other")
