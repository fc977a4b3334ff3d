"""ONNX Runtime's telemetry is off, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def files_after(code: str, home: Path, **environment: str) -> list[str]:
    """Run code with an empty home; what lies in it afterwards."""
    home.mkdir()
    clean = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, env={**clean, **places, **environment}
    )
    return sorted(str(p.relative_to(home)) for p in home.rglob("*"))


def test_importing_through_us_leaves_no_identifier(tmp_path: Path) -> None:
    code = "from portrait_sdk.model import runtime; runtime.onnxruntime()"
    assert files_after(code, tmp_path / "home") == []


def test_doctor_reports_it() -> None:
    from portrait_sdk import doctor

    assert doctor.report()["telemetry"] is False


def test_the_users_own_setting_is_left_alone() -> None:
    """Read without importing ONNX Runtime: a test must not switch its reporting on."""
    code = (
        "from portrait_sdk.model import runtime; print(runtime.telemetry_off());"
        "import os; os.environ.setdefault(runtime.TELEMETRY_VARIABLE, '1');"
        "print(os.environ[runtime.TELEMETRY_VARIABLE])"
    )
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    out = subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert out.stdout.split() == ["False", "0"]
