"""Imports follow the arrows of CONTRIBUTING's map, and importing stays light."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import portrait_sdk

PACKAGE = Path(portrait_sdk.__file__).parent
ORDER = (
    "errors", "types", "spec", "ops", "model", "media", "api", "pipeline", "doctor", "bench",
    "evaluation", "cli",
)  # fmt: skip
ALLOWED = {
    "errors": set(),
    "types": {"errors"},
    "spec": {"errors"},
    "ops": {"errors", "types", "spec"},
    "model": {"errors", "types", "spec", "ops"},
    "media": {"errors", "types", "ops"},
    "api": {"errors", "types", "spec", "ops", "model", "media"},
    "evaluation": {"errors", "types", "spec", "ops", "model", "media", "api", "bench"},
    "pipeline": {"errors", "types", "spec", "ops", "model", "media", "api"},
    "doctor": {"errors", "types", "spec", "ops", "model"},
    "bench": {"errors", "types", "spec", "ops", "model", "media", "api", "doctor", "converters"},
    "cli": {*ORDER, "converters"},
    "converters": {"errors", "types", "spec", "ops", "model", "media", "api"},
    "models": set(),
}


def imports(path: Path) -> set[str]:
    """Layers of ours that a file imports, type-checking blocks included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "portrait_sdk":
                names = [f"portrait_sdk.{alias.name}" for alias in node.names]
            else:
                names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts = [name.split(".") for name in names]
        found |= {p[1] for p in parts if p[0] == "portrait_sdk" and len(p) > 1}
    return found - {"__version__"}


def layer_files() -> list[tuple[str, Path]]:
    files = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        layer = relative.parts[0].removesuffix(".py")
        if layer != "__init__":
            files.append((layer, path))
    return files


@pytest.mark.parametrize(("layer", "path"), layer_files(), ids=lambda v: str(v)[-40:])
def test_imports_follow_the_arrows(layer: str, path: Path) -> None:
    assert imports(path) <= ALLOWED[layer] | {layer}, path


def run(code: str) -> str:
    """Run code in a new interpreter, away from the checkout."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True, cwd=os.sep
    ).stdout


def test_import_loads_neither_onnxruntime_nor_codecs_nor_pymatting() -> None:
    code = (
        "import sys, json, portrait_sdk, portrait_sdk.api, portrait_sdk.cli.matte;"
        "import portrait_sdk.cli.folder;"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    loaded = set(json.loads(run(code)))
    assert loaded.isdisjoint({"onnxruntime", "cv2", "PIL", "pymatting", "torch", "onnx", "numba"})


def test_a_public_name_is_bound_on_first_use() -> None:
    out = run("import portrait_sdk, sys; a='portrait_sdk.api' in sys.modules; portrait_sdk.matte;"
              "print(a, 'portrait_sdk.api' in sys.modules)")  # fmt: skip
    assert out.split() == ["False", "True"]


def test_the_tested_package_is_the_installed_one(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--editable"):
        pytest.skip("--editable: the checkout is tested")
    checkout = Path(__file__).resolve().parents[1]
    inside = (checkout / "portrait_sdk", checkout / "converters")
    assert not any(PACKAGE.is_relative_to(folder) for folder in inside), (
        f"testing the checkout at {PACKAGE}: run `pip install '.[test]'` first"
    )
    assert (PACKAGE / "converters" / "export.py").is_file()
