"""What is installed, what works here, and why the rest does not."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

from portrait_sdk import __version__
from portrait_sdk.model import cache, providers, runtime
from portrait_sdk.ops import kernels, threads

_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "click")
_OPTIONAL = ("pymatting", "onnx", "torch", "onnxsim")


def report() -> dict[str, Any]:
    """Everything ``portrait doctor`` prints, as plain JSON values.

    Returns:
        ``portrait_sdk``, ``python``, ``platform``; ``libraries`` (name → version or None);
        ``runtimes`` (ONNX Runtime distributions); ``conflict`` (text or None); ``telemetry``
        (whether ONNX Runtime's is on); ``providers`` (a list
        of name, usable, reason); ``auto`` (the provider it would choose); ``kernels`` (instruction
        set in use, those usable, why there is no extension); ``threads`` (budget, available, CPUs);
        ``cache`` (folder, whether it exists, whether offline).
    """
    usable = _usable_isas()
    return {
        "portrait_sdk": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in (*_LIBRARIES, *_OPTIONAL)},
        "runtimes": providers.runtimes(),
        "conflict": providers.conflict(),
        "telemetry": not runtime.telemetry_off(),
        "providers": [_status(name) for name in providers.KNOWN],
        "auto": next((n for n in providers.AUTO if providers.probe(n).usable), None),
        "kernels": {"isa": kernels.ISA, "usable": usable, "why_numpy": kernels.WHY_NUMPY},
        "threads": {
            "budget": threads.budget(),
            "available": threads.available(),
            "cpus": os.cpu_count(),
            "variable": os.environ.get(threads.VARIABLE),
        },
        "cache": {
            "folder": str(cache.cache_dir()),
            "exists": cache.cache_dir().is_dir(),
            "offline": cache.offline(),
        },
    }


def _usable_isas() -> list[str]:
    try:
        from portrait_sdk.ops import _kernels
    except ImportError:
        return []
    return list(_kernels.isas())


def _status(name: str) -> dict[str, Any]:
    status = providers.probe(name)
    return {"name": name, "usable": status.usable, "reason": status.reason}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def as_text(found: dict[str, Any]) -> str:
    """The report for people, one fact a line."""
    lines = [
        f"portrait_sdk {found['portrait_sdk']}, Python {found['python']}, {found['platform']}",
        f"prefix       {sys.prefix}",
    ]
    for name, version in found["libraries"].items():
        optional = " (optional)" if name in _OPTIONAL else ""
        lines.append(f"{name:<24} {version or 'not installed'}{optional}")
    for name, version in found["runtimes"].items():
        lines.append(f"{name:<24} {version}")
    lines.append(
        "telemetry    " + ("on, as ORT_DISABLE_TELEMETRY says" if found["telemetry"] else "off")
    )
    if found["conflict"]:
        lines.append(f"CONFLICT     {found['conflict']}")
    lines.append("providers")
    for status in found["providers"]:
        mark = "yes" if status["usable"] else "no "
        lines.append(f"  {mark} {status['name']:<10} {status['reason']}")
    lines.append(f"  auto chooses {found['auto'] or 'nothing: none works'}")
    own = found["kernels"]
    if own["why_numpy"]:
        lines.append(f"kernels      NumPy, slower: {own['why_numpy']}")
    else:
        lines.append(f"kernels      {own['isa']} (usable: {', '.join(own['usable'])})")
    budget = found["threads"]
    lines.append(
        f"threads      {budget['budget']} (available {budget['available']} of {budget['cpus']} CPUs"
        f"; set with {threads.VARIABLE} or --threads)"
    )
    store = found["cache"]
    state = "exists" if store["exists"] else "not created yet"
    offline = ", offline" if store["offline"] else ""
    lines.append(f"model cache  {store['folder']} ({state}{offline})")
    return "\n".join(lines)
