"""Providers: what is asked for is what runs, or an error that says why."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from portrait_sdk.errors import ProviderError
from portrait_sdk.model import providers

if TYPE_CHECKING:
    from pathlib import Path


def test_cpu_always_works() -> None:
    assert providers.choose("cpu") == ("cpu", 0)


def test_auto_chooses_one_that_works() -> None:
    name, device = providers.choose("auto")
    assert providers.probe(name).usable
    assert device == 0


@pytest.mark.parametrize("name", [n for n in providers.KNOWN if n != "cpu"])
def test_a_provider_that_cannot_be_had_is_an_error_that_says_why(name: str) -> None:
    status = providers.probe(name)
    if status.usable:
        pytest.skip(f"{name} works here")
    with pytest.raises(ProviderError, match=f"provider '{name}' cannot be used: ") as caught:
        providers.choose(name)
    assert status.reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cuda_without_its_libraries_names_the_missing_one() -> None:
    import onnxruntime

    status = providers.probe("cuda")
    if status.usable or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("CUDA works here, or this onnxruntime has no CUDA provider")
    assert ".so" in status.reason or ".dll" in status.reason or "NVIDIA" in status.reason


@pytest.mark.parametrize(
    "wrong", ["gpu", "CUDA", "", "cuda:x", "cuda:-1", "cuda:\u00b2", "cpu:1", "auto:0"]
)
def test_unknown_names_are_refused(wrong: str) -> None:
    with pytest.raises(ProviderError, match="provider"):
        providers.choose(wrong)


def test_device_numbers() -> None:
    assert providers.parse("cuda:1") == ("cuda", 1)
    assert providers.parse("cuda") == ("cuda", 0)


def test_options_end_on_the_cpu() -> None:
    assert providers.options("cuda", 1)[0][1]["device_id"] == "1"
    assert providers.options("cuda", 1)[-1] == "CPUExecutionProvider"
    assert providers.options("cpu", 0) == [("CPUExecutionProvider", {})]


def test_an_installed_runtime_is_found() -> None:
    assert any(name.startswith("onnxruntime") for name in providers.runtimes())


def test_two_runtimes_over_each_other_are_a_conflict(tmp_path: Path) -> None:
    """Real distribution metadata in a folder in front of the installed ones."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        folder = tmp_path / f"{name.replace('-', '_')}-1.99.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.99\n")
    code = "from portrait_sdk import doctor; print(doctor.as_text(doctor.report()))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    out = subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout
    line = next(line for line in out.splitlines() if line.startswith("CONFLICT"))
    assert "onnxruntime 1.99 and onnxruntime-gpu 1.99 share one folder" in line
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in line


def test_one_runtime_is_no_conflict() -> None:
    assert len(providers.runtimes()) == 1
    assert providers.conflict() is None
