"""`expunge erase` imports what its options need."""

from pathlib import Path

from tests.api_schemas.cli.test_commands import run_command_lines

VALIDATION_ONLY = (
    "diffusers",
    "editor.features",
    "editor.judging.judge",
    "editor.jobs.validate_phase",
    "editor.tracing",
)


def test_an_edit_without_validation_imports_neither_diffusers_nor_judges_nor_the_tracer(tmp_path: Path) -> None:
    arguments = ("--remove", "fox=dog face", "--no-validate", "--delta-only", "--out", str(tmp_path / "out"))
    ((code, modules),) = run_command_lines([("erase", *arguments)])
    assert code == 0
    assert modules.isdisjoint(VALIDATION_ONLY)
    generation = {name for name in modules if name.startswith("editor.generation.")}
    light = {"editor.generation.device", "editor.generation.generated_pairs", "editor.generation.warm_pipelines"}
    assert generation == light, "none of them imports diffusers"
    assert (tmp_path / "out" / "delta.safetensors").is_file()
