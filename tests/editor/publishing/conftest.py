"""A Stable Diffusion pipeline of a few thousand weights, an update of its text encoder, and a report about it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from api_schemas.gates import Gate, Measure
from api_schemas.report import (
    AuditReport,
    Check,
    Estimate,
    GroupScore,
    JudgeRecord,
    ModelRecord,
    RemovalRecord,
    SamplerRecord,
    SiteEffect,
    SolveRecord,
    TraceRecord,
    TradeOffPoint,
    Validation,
    Verdict,
    WordEffects,
    WordTrace,
)
from editor.checkpoints.safe_paths import model_files
from editor.checkpoints.tensor_update import TensorUpdate
from editor.io.digests import file_digest
from editor.io.figures import Picture
from editor.io.plotting import ImagePair, sample_sheet
from editor.judging.gates import GateEvidence, decide_gates, make_check
from editor.stats.intervals import estimate_mean, estimate_rate

TENSOR = "encoder.layers.0.self_attn.out_proj.weight"
CONTEXT, WIDTH, RANK = 16, 32, 3
CONFIDENCE = 0.95
HOSTILE = "<script>alert('$x^2$')</script> | *fox*"


def tiny_tokenizer() -> CLIPTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={entry: i for i, entry in enumerate(entries)}, merges=[], model_max_length=CONTEXT)


def tiny_pipeline() -> StableDiffusionPipeline:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="session")
def precision() -> torch.dtype:
    return torch.float32


@pytest.fixture(scope="session")
def model_dir(precision: torch.dtype, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline's folder."""
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().to(precision).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def update(model_dir: Path) -> TensorUpdate:
    """A random update, large enough that every output moves."""
    file = model_dir / "text_encoder" / "model.safetensors"
    base = load_file(file)[TENSOR]
    generator = torch.Generator().manual_seed(1)
    up = torch.randn(WIDTH, RANK, generator=generator, dtype=torch.float64) * 0.3
    down = torch.randn(RANK, WIDTH, generator=generator, dtype=torch.float64) * 0.3
    return TensorUpdate("text_encoder", f"text_model.{TENSOR}", TENSOR, file, base, up, down)


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - 0.04), high=min(1.0, value + 0.04), n=24)


def group(name: str, removal: int | None, before: float, after: float) -> GroupScore:
    return GroupScore(
        group=name,
        removal=removal,
        asks="object",
        prompts=[f"a picture of {HOSTILE}", "an owl in the style of noto"],
        accuracy_before=estimate(before),
        accuracy_after=estimate(after),
        accuracy_drop=Estimate(value=before - after, low=before - after - 0.05, high=before - after + 0.05, n=24),
        score_before=estimate(0.31),
        score_after=estimate(0.12),
    )


def gate(
    name: str,
    removal: int | None,
    measure: Measure,
    threshold: float,
    observations: list[float],
    outcome: Verdict,
    control: Sequence[float] = (),
) -> Check:
    """Return the check of a gate for which all prompts were generated."""
    erased = measure == "target_accuracy"
    return Check(
        name=name,
        removal=removal,
        measured=estimate_rate(observations) if erased else estimate_mean(observations),
        threshold=threshold,
        outcome=outcome,
        measure=measure,
        settled="open" if outcome == "inconclusive" else "at the end",
        images=len(observations),
        planned=len(observations),
        observations=observations,
        control=list(control),
    )


def make_checks() -> list[Check]:
    """Return one gate that passes and one that is inconclusive."""
    erased = GateEvidence(Gate(measure="target_accuracy", threshold=0.05), [0.0] * 120, True, [1.0] * 110 + [0.0] * 10)
    retained = GateEvidence(Gate(measure="retain_object_drop", threshold=0.03), [0.0] * 29 + [1.0], True)
    first, second = decide_gates([erased, retained], CONFIDENCE)
    return [
        make_check(erased, first, "target object accuracy", 0, 1, 120, CONFIDENCE),
        make_check(retained, second, "retain object accuracy drop", None, 1, 30, CONFIDENCE),
    ]


@pytest.fixture(scope="session")
def report(model_dir: Path) -> AuditReport:
    """A complete report with a hostile concept; no artifacts yet."""
    files = {name: file_digest(path) for name, path in model_files(model_dir).items()}
    sites = [
        SiteEffect(layer=layer, kind=kind, effect=estimate(0.9 if (layer, kind) == (0, "self_attention") else 0.1))
        for layer in range(6)
        for kind in ("self_attention", "mlp")
    ]
    return AuditReport(
        job_id="edit_1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        model=ModelRecord(id="tiny", family="stable-diffusion-1", files=files),
        removals=[
            RemovalRecord(
                concept=HOSTILE,
                kind="object",
                destination="dog face",
                destination_source="replacement",
                aliases=["<b>vixen</b>"],
                edit_prompts=[f"a picture of {HOSTILE}"],
                neighbours=["wolf", "dog & bone"],
            )
        ],
        solves=[
            SolveRecord(
                method="default",
                component="text_encoder",
                tensor=f"text_model.{TENSOR}",
                layer=0,
                columns=44,
                rank=RANK,
                preservation=0.5,
                ridge=1e-4,
                condition=1e5,
                relative_change=0.12,
                null_prompt_drift=1e-12,
                predicted_retain_p95=0.03,
                seconds=0.02,
                trade_off=[
                    TradeOffPoint(
                        preservation=2.0**p, removed=0.9 - 0.05 * p, retained=0.9 + 0.02 * p, predicted_retain_p95=0.03
                    )
                    for p in range(-4, 4)
                ],
            )
        ],
        traces=[
            TraceRecord(
                removal=0,
                read_out="judge cosine",
                clean_score=0.8,
                corrupted_score=0.1,
                sites=sites,
                causal_site="layer 0 self_attention",
                edited_site_is_causal=True,
                separated=True,
                by_word=WordTrace(
                    prompt="a picture of a fox",
                    words=[
                        WordEffects(text="of", subject=False, effects=[0.0, 0.0]),
                        WordEffects(text="fox", subject=True, effects=[0.62, -0.04]),
                    ],
                ),
            )
        ],
        validation=Validation(
            judge=JudgeRecord(id="judge", sha256="0" * 64, shares_weights_with_model=False),
            sampler=SamplerRecord(scheduler="DDIM", steps=20, guidance=3.0, seeds=[0]),
            confidence=CONFIDENCE,
            groups=[group("target", 0, 0.92, 0.0), group("neighbours", 0, 0.9, 0.89), group("retain", None, 0.9, 0.9)],
            checks=make_checks(),
            policy_sha256="b" * 64,
            method="Betting, and an interval at the end.",
            images=240,
            planned=480,
        ),
        verdict="inconclusive",
        limits=["Other languages were not considered."],
        untested=["Prompts of several sentences <i>."],
        artifacts=[],
        software={"torch": "2.13.0"},
    )


@pytest.fixture(scope="session")
def sheet() -> Picture:
    images = [Image.new("RGB", (64, 64), colour) for colour in ("orange", "gray")]
    return sample_sheet(
        "samples-0", f"Asked for “{HOSTILE}”.", [ImagePair(f"a picture of {HOSTILE} {i}", *images) for i in range(10)]
    )
