"""Which results belong to which photo: a rule on names alone.

Usually ``a.jpg`` becomes ``a.png``. Where that could be another photo's result too, more of the
photo's name stays. What decides is which names lie in the photo's folder: neither the order in
which they are listed, nor which of them are asked for, nor what an earlier run has made.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
"""Extensions of photos, in lower case."""


def is_picture(name: str) -> bool:
    """Whether a file is a photo, by its extension."""
    return os.path.splitext(name)[1].lower() in PICTURES  # noqa: PTH122 - names of any bytes


def output_stems(
    files: Collection[str], folders: Collection[str], endings: Sequence[str]
) -> dict[str, str]:
    """What each file's results are called, up to their endings.

    No two results have the same name, even where upper and lower case or ways to write an accent
    are not told apart. From plain to long: ``a``; ``a.jpg`` where the folder has an ``a.png`` too,
    or a file called ``a``, or where it has another extension than a photo's; ``a.jpg-1f0c35b2``
    where it has an ``A.JPG`` too.

    Args:
        files: Names of all files of one folder.
        folders: What its subfolders are called among the results; no result is called like one.
        endings: Of the results of each photo, such as ``-alpha.png``; none ends with another.
    """
    taken = {key(name) for name in folders}
    stems = Counter(key(_stem(name)) for name in files if is_picture(name))
    names = Counter(key(name) for name in files)

    def free(stem: str) -> bool:
        return not any(key(stem + ending) in taken for ending in endings)

    found = {name: marked(name) for name in files if names[key(name)] > 1 or not free(name)}
    names.update(key(stem) for stem in found.values())
    for name in files:
        stem = _stem(name)
        alone = is_picture(name) and stems[key(stem)] == 1 and key(stem) not in names
        found.setdefault(name, stem if alone and free(stem) else name)
    return found


def output_folders(folders: Collection[str], reserved: Collection[str] = ()) -> dict[str, str]:
    """What each subfolder is called among the results: as it is, marked where case could clash.

    Args:
        folders: Names of all subfolders of one folder.
        reserved: Names that other files have among the results.
    """
    names = Counter(key(name) for name in (*folders, *reserved))
    return {name: marked(name) if names[key(name)] > 1 else name for name in folders}


def key(name: str) -> str:
    """What is left of a name on a file system that ignores case and normalises accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def marked(name: str) -> str:
    """A name that no other name shares, made from its exact bytes."""
    return f"{name}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - names of any bytes
