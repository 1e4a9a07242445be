"""Device settings: how they are read, and what they resolve to on machines with and without a GPU."""

import pytest
import torch

from api_schemas.errors import UsageError
from editor.errors import DeviceError
from editor.generation.device import DeviceSettings


def test_settings_are_read_from_the_environment_and_overridden_by_options() -> None:
    environment = {
        "EXPUNGE_DEVICE": "cuda:1",
        "EXPUNGE_PRECISION": "bfloat16",
        "EXPUNGE_OFFLOAD": "model",
        "EXPUNGE_VAE_TILING": "true",
        "EXPUNGE_MEMORY": "8GB",
        "EXPUNGE_COMPILE": "0",
        "EXPUNGE_WARM_MEMORY": "4GB",
    }
    settings = DeviceSettings.from_environment(environment)
    assert settings == DeviceSettings("cuda:1", "bfloat16", "model", True, 8 * 10**9, 4 * 10**9, False)
    assert settings.override(device="cpu", precision=None) == DeviceSettings(
        "cpu", "bfloat16", "model", True, 8 * 10**9, 4 * 10**9, False
    )
    assert DeviceSettings.from_environment({}) == DeviceSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "gpu"),
        ("device", "cuda:first"),
        ("device", "cpu:0"),
        ("device", "cuda:"),
        ("precision", "float8"),
        ("offload", "disk"),
        ("vae_tiling", "maybe"),
    ],
)
def test_invalid_setting_is_rejected_by_name(name: str, value: str) -> None:
    with pytest.raises(DeviceError, match=value) as caught:
        DeviceSettings.from_environment({f"EXPUNGE_{name.upper()}": value})
    assert caught.value.field == name
    assert caught.value.remedy


def test_invalid_memory_is_rejected() -> None:
    with pytest.raises(UsageError, match="much"):
        DeviceSettings.from_environment({"EXPUNGE_MEMORY": "much"})


def test_weights_stay_in_float32_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    found = DeviceSettings("cpu").resolve()
    assert (found.torch_device, found.precision, found.dtype) == (torch.device("cpu"), "bfloat16", torch.float32)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert DeviceSettings("cpu").resolve().precision == "float32"
    with pytest.raises(DeviceError, match="float16 is not supported on the CPU"):
        DeviceSettings("cpu", "float16").resolve()


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_auto_is_the_gpu_in_the_precision_that_it_multiplies_natively(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    found = DeviceSettings().resolve()
    assert (found.torch_device.type, found.precision, found.dtype) == ("cuda", precision, getattr(torch, precision))
    assert DeviceSettings("cuda:1", "float32").resolve().dtype == torch.float32
    with pytest.raises(DeviceError, match="no device cuda:2: torch finds 2"):
        DeviceSettings("cuda:2").resolve()


def test_missing_gpu_is_an_error_with_a_remedy() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="no device cuda: torch finds 0") as caught:
        DeviceSettings("cuda").resolve()
    assert caught.value.field == "device"
