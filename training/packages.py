"""The photographs without people that a recipe names, out of the packages they come in."""

from __future__ import annotations

import bz2
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

DEBIAN = (
    "budgie-backgrounds_4.2-*.deb",
    "wordpress-theme-twentytwentyfour_7.1.*.deb",
    "wordpress-theme-twentytwentyfive_7.1.*.deb",
    "gcompris-qt-data_3.1-*.deb",
)
SCIPY = "scipy-1.9.3-*.whl"
_RESOURCES = {  # GCompris's resource files, and the folder of each whose licences are known by file
    "categorization": "categorization/resource/images",
    "erase": "erase/resource",
    "explore_farm_animals": "explore_farm_animals/resource/animals",
    "explore_world_animals": "explore_world_animals/resource/animals",
}
_OTHERS = {"erase/giraffe.webp", "erase/horse.webp"}  # than those of these names that are taken
_FACE_SHAPE = (768, 1024, 3)


def collect(packages: Path, names: Sequence[str], out: Path) -> None:
    """Write the named photographs into ``out``, none unless all are there.

    Args:
        packages: Folder with the files of :data:`DEBIAN` and :data:`SCIPY`, as ``apt-get download``
            and ``pip download`` leave them.
        names: File names without their endings.
        out: Folder, made where it is missing.

    Raises:
        FileNotFoundError: A package, a program that unpacks it or a photograph is missing.
        ValueError: A package is not what it should be.
    """
    files = [_one(packages, pattern) for pattern in (*DEBIAN, SCIPY)]
    wanted = set(names)
    with tempfile.TemporaryDirectory() as folder:
        root, found = Path(folder) / "root", Path(folder) / "found"
        found.mkdir()
        for package in files[:-1]:
            _unpack("dpkg-deb", "-x", package, root)
        for path in sorted(root.glob("usr/share/backgrounds/budgie/*.jxl")):
            if path.stem in wanted:
                _unpack("djxl", "--quiet", path, found / f"{path.stem}.png")
        for path in sorted(root.glob("usr/share/wordpress/**/assets/images/*.webp")):
            if path.stem in wanted:
                shutil.copyfile(path, found / path.name)
        _gcompris(root / "usr/share/gcompris-qt/rcc", wanted, found)
        _raccoon(files[-1], found / "raccoon.png")
        missing = wanted - {path.stem for path in found.iterdir()}
        if missing:
            raise FileNotFoundError(f"{packages}: no package has {', '.join(sorted(missing))}")
        out.mkdir(parents=True, exist_ok=True)
        for path in found.iterdir():
            if path.stem in wanted:
                shutil.copyfile(path, out / path.name)


def _one(packages: Path, pattern: str) -> Path:
    found = sorted(packages.glob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(f"{packages}: expected one file {pattern}, found {len(found)}")
    return found[0]


def _unpack(program: str, *arguments: str | Path) -> None:
    where = shutil.which(program)
    if where is None:
        raise FileNotFoundError(f"{program} is missing: of Debian's dpkg and libjxl-tools")
    done = subprocess.run(  # noqa: S603 - no shell, and the program is the one named
        [where, *arguments], capture_output=True, check=False
    )
    if done.returncode:
        raise ValueError(f"{program}: {done.stderr.decode(errors='replace').strip()}")


def _gcompris(folder: Path, wanted: set[str], out: Path) -> None:
    try:
        from PySide6.QtCore import QDirIterator, QFile, QResource
    except ImportError as error:
        raise FileNotFoundError("pip install PySide6-Essentials: it reads .rcc files") from error
    for name, inside in _RESOURCES.items():
        path = folder / f"{name}.rcc"
        if not QResource.registerResource(str(path), f"/{name}"):
            raise ValueError(f"{path.name}: not a Qt resource file")
        root = f":/{name}/gcompris/src/activities/{inside}"
        files = QDirIterator(root, QDirIterator.IteratorFlag.Subdirectories)
        while files.hasNext():
            file = Path(files.next())
            if file.suffix == ".webp" and file.stem in wanted:
                source = QFile(str(file))
                if f"{name}/{file.name}" not in _OTHERS and not source.copy(str(out / file.name)):
                    raise ValueError(f"{path.name}: {file.name} cannot be read")


def _raccoon(wheel: Path, out: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        face = bz2.decompress(archive.read("scipy/misc/face.dat"))
    rgb = np.frombuffer(face, np.uint8).reshape(_FACE_SHAPE)
    cv2.imwrite(str(out), rgb[..., ::-1])
