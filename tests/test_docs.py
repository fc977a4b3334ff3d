"""What the documents say is so."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

import pytest
from conftest import CHECKOUT

import portrait_sdk

PAGES = [
    *CHECKOUT.glob("*.md"),
    *(CHECKOUT / "docs").glob("*.md"),
    *(CHECKOUT / "benchmarks").glob("*.md"),
    *(CHECKOUT / "samples").rglob("*.md"),
    *(CHECKOUT / "cpp_ext").glob("*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    text = (CHECKOUT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert versions[1] == portrait_sdk.__version__


def test_the_readmes_tables_are_the_measured_ones() -> None:
    script = CHECKOUT / "scripts/readme_tables.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


def test_the_readme_has_the_two_commands_ci_runs() -> None:
    text = (CHECKOUT / "README.md").read_text("utf-8")
    for marker in ("install", "test"):
        assert re.search(rf"^<!-- {marker} -->\n```sh\n[^`]+\n```$", text, re.MULTILINE)


def test_the_readmes_python_runs(tmp_path: Path, astronaut: Path) -> None:
    text = (CHECKOUT / "README.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (tmp_path / "portrait.jpg").write_bytes(astronaut.read_bytes())
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {"portrait.jpg", "cutout.png", "blue.jpg", "blurred.jpg"}


def test_the_metrics_page_prints_what_it_says() -> None:
    text = (CHECKOUT / "docs/metrics.md").read_text("utf-8")
    found = re.search(
        r"```python\n([^`]+)```\n\n<!-- what it prints -->\n```text\n([^`]+)```", text
    )
    assert found is not None
    code, wanted = found.groups()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout == wanted


FOLDERS = (CHECKOUT / "docs/folders.md").read_text("utf-8")


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize("recipe", re.findall(r"```sh\n(.*?)```", FOLDERS, re.DOTALL))
def test_the_recipes_for_folders_run(tmp_path: Path, astronaut: Path, recipe: str) -> None:
    for source in re.findall(r"portrait folder (\S+)", recipe):
        (tmp_path / source).mkdir(parents=True, exist_ok=True)
        shutil.copy(astronaut, tmp_path / source / "a.jpg")
    scripts = sysconfig.get_path("scripts")
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    watching = "--watch" in recipe
    with subprocess.Popen(
        ["/bin/sh", "-ec", f"exec {recipe}" if watching else recipe],
        cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL,
    ) as shell:  # fmt: skip
        try:
            if watching:
                while not list(tmp_path.glob("outbox/*.png")):
                    assert shell.poll() is None
                    time.sleep(0.1)
                shell.send_signal(signal.SIGINT)
            assert shell.wait(120) == (130 if watching else 0)
        finally:
            shell.kill()  # one that does not end
    for target in re.findall(r"portrait folder \S+ (\S+)", recipe):
        report = json.loads((tmp_path / target / "report.json").read_bytes())
        assert (report["done"], report["failed"]) == (1, 0), target


def test_the_python_for_folders_runs(tmp_path: Path, astronaut: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", FOLDERS, re.DOTALL))
    (tmp_path / "photos").mkdir()
    shutil.copy(astronaut, tmp_path / "photos/a.jpg")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "1 0 0 0\n"
    assert {p.name for p in (tmp_path / "out").glob("a*")} == {"a-cutout.png", "a-alpha.webp"}


def test_every_variable_is_documented() -> None:
    usage = (CHECKOUT / "docs/usage.md").read_text("utf-8")
    package = Path(portrait_sdk.__file__).parent
    sources = [*package.rglob("*.py"), *(CHECKOUT / "cpp_ext").glob("*.c")]
    found = {
        name
        for path in sources
        for name in re.findall(r'"((?:PORTRAIT|PS|ORT)_[A-Z_]+)"', path.read_text("utf-8"))
    }
    assert {"PORTRAIT_THREADS", "PORTRAIT_CACHE_DIR", "PS_FORCE_ISA"} <= found
    for name in found:
        assert name in usage, name


def test_runtime_dependencies_are_what_matting_needs() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[^A-Za-z0-9-]", d, maxsplit=1)[0] for d in project["dependencies"]}
    assert names == {
        "click", "filelock", "numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless",
        "pillow", "tqdm",
    }  # fmt: skip
