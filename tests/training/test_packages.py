"""``python -m training photographs``: out of packages, whole or not at all."""

from __future__ import annotations

import bz2
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import CHECKOUT

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb")
needs_qt = pytest.mark.skipif(
    not importlib.util.find_spec("PySide6"), reason="PySide6-Essentials is not installed"
)
NAMES = (
    "budgie-backgrounds_4.2-1_all",
    "wordpress-theme-twentytwentyfour_7.1.4-1_all",
    "wordpress-theme-twentytwentyfive_7.1.4-1_all",
    "gcompris-qt-data_3.1-2_all",
)


def photographs(packages: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", "photographs", *options, str(packages), str(out)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def complaint(packages: Path, out: Path) -> str:
    """The one line of a run that failed and wrote nothing."""
    result = photographs(packages, out)
    assert result.returncode == 1
    assert not out.exists()
    (line,) = result.stderr.strip().splitlines()
    return line


def built(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A real Debian package with these files."""
    root = folder / name
    (root / "DEBIAN").mkdir(parents=True)
    package, version, _ = name.split("_")
    (root / "DEBIAN/control").write_text(
        f"Package: {package}\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: pictures\n"
    )
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    subprocess.run(["dpkg-deb", "-b", root, f"{root}.deb"], check=True, capture_output=True)
    shutil.rmtree(root)


def wheel(path: Path) -> None:
    face = np.arange(768 * 1024 * 3, dtype=np.uint32).astype(np.uint8)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scipy/misc/face.dat", bz2.compress(face.tobytes()))


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    said = complaint(tmp_path / "packages", tmp_path / "out")
    assert "expected one file budgie-backgrounds_4.2-*.deb, found 0" in said


@needs_dpkg
def test_a_broken_package_is_named(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in NAMES:
        (packages / f"{name}.deb").write_bytes(b"broken")
    wheel(packages / "scipy-1.9.3-cp310.whl")
    said = complaint(packages, tmp_path / "out")
    assert "dpkg-deb" in said
    assert "budgie-backgrounds_4.2-1_all.deb" in said


@needs_dpkg
@needs_qt
def test_what_is_missing_is_named_and_nothing_written(tmp_path: Path) -> None:
    theme = "usr/share/wordpress/wp-content/themes/t/assets/images"
    picture = cv2.imencode(".webp", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    packages, out = tmp_path / "packages", tmp_path / "out"
    packages.mkdir()
    resources = resource_files(tmp_path, picture)
    for name in NAMES:
        files = {f"{theme}/location.webp": picture} if "wordpress" in name else {}
        built(packages, name, resources if "gcompris" in name else files)
    wheel(packages / "scipy-1.9.3-cp310.whl")
    said = complaint(packages, out)
    assert "no package has 404-image, " in said
    for name in ("location", "bison", "giraffe", "raccoon"):  # these it has found
        assert f" {name}," not in said

    recipe = tmp_path / "recipe.toml"
    text = (CHECKOUT / "training/recipe.toml").read_text("utf-8")
    before, _, rest = text.partition("\nphotographs = [")
    names = '"location", "bison", "giraffe", "raccoon"'
    recipe.write_text(before + f"\nphotographs = [{names}]" + rest.partition("\n]")[2])
    result = photographs(packages, out, "--recipe", str(recipe))
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{out}: 4 photographs\n"
    found = {path.name for path in out.iterdir()}
    assert found == {"location.webp", "bison.webp", "giraffe.webp", "raccoon.png"}
    assert (out / "bison.webp").read_bytes() == picture
    assert cv2.imread(str(out / "raccoon.png"))[0, 0].tolist() == [2, 1, 0]  # OpenCV's BGR


def resource_files(folder: Path, picture: bytes) -> dict[str, bytes]:
    """GCompris's four resource files, made by Qt's own compiler."""
    import PySide6

    activities = "src/activities"
    inside = {
        "categorization": "categorization/resource/images/others/pan.webp",
        "erase": "erase/resource/giraffe.webp",
        "explore_farm_animals": "explore_farm_animals/resource/animals/horse.webp",
        "explore_world_animals": "explore_world_animals/resource/animals/{}.webp",
    }
    other = cv2.imencode(".webp", np.full((8, 8, 3), 255, np.uint8))[1].tobytes()
    made: dict[str, bytes] = {}
    compiler = Path(PySide6.__file__).parent / "Qt/libexec/rcc"
    for name, path in inside.items():
        entries = []
        for stem in ("bison", "giraffe") if "{}" in path else ("",):
            file = folder / f"{name}{stem}.webp"
            file.write_bytes(other if name == "erase" else picture)
            alias = f"{activities}/{path.format(stem)}"
            entries.append(f'<file alias="{alias}">{file.name}</file>')
        source = folder / f"{name}.qrc"
        prefix = '<qresource prefix="/gcompris">'
        source.write_text(f"<RCC>{prefix}{''.join(entries)}</qresource></RCC>")
        out = folder / f"{name}.rcc"
        subprocess.run([compiler, "--binary", source, "-o", out], check=True)
        made[f"usr/share/gcompris-qt/rcc/{name}.rcc"] = out.read_bytes()
    return made
