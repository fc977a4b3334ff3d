"""Execution providers: which there are, which really work here, and why the others don't.

ONNX Runtime lists a provider as available when it was compiled in, and falls back to the CPU with a
log line when it cannot start. Here a provider counts only when its library and what that needs can
be loaded and there is a device.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any

from portrait_sdk.errors import ProviderError
from portrait_sdk.model import runtime

KNOWN = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
}
"""Our short names and ONNX Runtime's."""

AUTO = ("cuda", "directml", "cpu")
"""What ``auto`` tries, best first. The others compile or convert the graph first, or need a setup
of their own: they are chosen by name."""

MEMORY = {"cuda": "cuda", "tensorrt": "cuda"}
"""Providers with a memory of their own that ONNX Runtime lends, and its name for that."""
_WITH_DEVICES = ("cuda", "tensorrt", "directml")
_probing = threading.Lock()
_WHEEL = {
    "cuda": "`pip install 'portrait-sdk[cuda]'`",
    "tensorrt": "`pip install 'portrait-sdk[cuda]'` and TensorRT's own libraries",
    "directml": "`pip install onnxruntime-directml` in place of onnxruntime-gpu",
    "coreml": "onnxruntime on macOS",
    "openvino": "`pip install onnxruntime-openvino` in place of onnxruntime-gpu",
    "migraphx": "a ROCm build of onnxruntime",
}
_RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Whether one provider can be used here."""

    name: str
    usable: bool
    reason: str
    """Why it can't, and the way on; or what was found."""


def runtimes() -> dict[str, str]:
    """The ONNX Runtime distributions installed, with versions; more than one is a conflict."""
    from importlib import metadata  # takes longer to import than the rest of this module

    found = {}
    for name in _RUNTIMES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def conflict() -> str | None:
    """Why two ONNX Runtimes are installed over each other, and the way on; None if they are not."""
    found = runtimes()
    if len(found) < 2:  # noqa: PLR2004 - two make a conflict
        return None
    both = " and ".join(f"{name} {version}" for name, version in found.items())
    keep = "onnxruntime-gpu" if "onnxruntime-gpu" in found else next(iter(found))
    return (
        f"{both} share one folder and overwrite each other: "
        f"`pip uninstall -y {' '.join(found)}`, then `pip install {keep}`"
    )


def probe(name: str) -> Status:
    """Find out whether a provider really works here, without opening a model; once a process.

    Args:
        name: One of ``KNOWN``.
    """
    # One at a time: looking for CUDA's libraries redirects standard output for a moment.
    with _probing:
        return _probe(name)


@lru_cache(maxsize=16)
def _probe(name: str) -> Status:
    try:
        onnxruntime = runtime.onnxruntime()
    except ProviderError as error:
        return Status(name=name, usable=False, reason=str(error))
    if name == "cpu":
        return Status(name=name, usable=True, reason="always there")
    if not _compiled_in(name):
        own = ", ".join(f"{n} {v}" for n, v in runtimes().items()) or "onnxruntime"
        way = _WHEEL[name]
        return Status(
            name=name, usable=False, reason=f"not in the installed {own}; it comes with {way}"
        )
    if name in ("cuda", "tensorrt"):
        why = _cuda_library(onnxruntime, name) or _cuda_device()
        if why:
            return Status(name=name, usable=False, reason=why)
    return Status(name=name, usable=True, reason="found")


def _compiled_in(name: str) -> bool:
    try:
        available: list[str] = runtime.onnxruntime().get_available_providers()
    except ProviderError:
        return False
    return KNOWN[name] in available


def _cuda_library(onnxruntime: Any, name: str) -> str | None:  # noqa: ANN401 - a module
    """Why the provider's own library cannot be loaded, naming the missing one; None if it can."""
    if util.find_spec("nvidia") is not None:  # CUDA from pip: onnxruntime finds it, and prints
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    capi = Path(onnxruntime.__file__).parent / "capi"
    if sys.platform == "win32":
        library = capi / f"onnxruntime_providers_{name}.dll"
    else:
        library = capi / f"libonnxruntime_providers_{name}.so"
    if not library.exists():
        return None  # built in, or a plug-in that registers itself
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        missing = str(error).split(":", 1)[0].strip()
        return f"its library cannot be loaded: {missing} is missing; get it with {_WHEEL[name]}"
    return None


def _cuda_device() -> str | None:
    """Why there is no CUDA device; None if there is one."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"no NVIDIA driver ({name}) on this machine"
    status = driver.cuInit(0)
    count = ctypes.c_int(0)
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        return f"the NVIDIA driver does not start (CUDA error {status}); `nvidia-smi` tells more"
    return None if count.value else "no NVIDIA device on this machine"


def parse(provider: str) -> tuple[str, int]:
    """``cuda:1`` → ``("cuda", 1)``; a name alone means device 0.

    Raises:
        ProviderError: The name is not known, or the device is no number.
    """
    name, colon, device = provider.partition(":")
    if name not in KNOWN and name != "auto":
        raise ProviderError(
            f"provider: expected auto or one of {', '.join(KNOWN)}, got {provider!r}"
        )
    if colon and name not in _WITH_DEVICES:
        raise ProviderError(f"provider {provider!r}: {name} takes no device number")
    if colon and not (device.isascii() and device.isdecimal()):
        raise ProviderError(f"provider {provider!r}: expected a device number behind the colon")
    return name, int(device or 0)


def choose(provider: str) -> tuple[str, int]:
    """The provider to open a session on.

    Args:
        provider: ``auto`` for the best that works, or a name (``cpu``, ``cuda``, ``cuda:1``, …).

    Raises:
        ProviderError: Asked for by name and not to be had; the message says why and the way on.
    """
    name, device = parse(provider)
    if name == "auto":
        for candidate in AUTO:
            # What is not compiled in needs no reason here; finding its words takes 35 ms.
            if _compiled_in(candidate) and probe(candidate).usable:
                return candidate, device
        raise ProviderError(probe("cpu").reason)
    status = probe(name)
    if not status.usable:
        raise ProviderError(f"provider {provider!r} cannot be used: {status.reason}")
    return name, device


def options(name: str, device: int, *, cuda_graphs: bool = False) -> list[Any]:
    """What ``InferenceSession(providers=…)`` is given for a provider: itself, then the CPU."""
    own: dict[str, Any] = {}
    if name in _WITH_DEVICES:
        own["device_id"] = str(device)
    if name == "cuda":
        # Grow by what is asked, not by doubling: photos of many sizes would hoard memory otherwise.
        own["arena_extend_strategy"] = "kSameAsRequested"
        own["cudnn_conv_algo_search"] = "HEURISTIC"
        if cuda_graphs:
            own["enable_cuda_graph"] = "1"
    chosen: list[Any] = [(KNOWN[name], own)]
    return chosen if name == "cpu" else [*chosen, KNOWN["cpu"]]
