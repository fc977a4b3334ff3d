"""What a folder job is, apart from who executes it: a value that goes through JSON and back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from portrait_sdk.errors import ImageError, OptionError, first_line
from portrait_sdk.pipeline.outputs import Output, Outputs

if TYPE_CHECKING:
    from portrait_sdk.ops.refine import Refine

_VERSION = 1  # of the JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderJob:
    """Photos of one folder, matted into another with the same tree.

    A task is one photo of the job (``portrait_sdk.pipeline.listing``); what became of it is an
    entry (``record``). ``task.run_task`` makes the one into the other with nothing but the job and
    an open model, so that any engine can execute a job; ``process_folder`` is the local one.

    Raises:
        OptionError: A value is not known or not possible.
    """

    source: str
    """The folder of photos."""
    target: str
    """The folder of results; made where it is missing."""
    outputs: Outputs = field(default_factory=Outputs)
    refine: Refine = "auto"
    """As for ``Matting.matte``."""
    model: str | None = None
    """As for ``load``."""
    include: tuple[str, ...] = ()
    """Globs: only photos that match one. Empty: JPEG, PNG, WebP, TIFF and BMP, by extension."""
    exclude: tuple[str, ...] = ()
    """Globs: neither photos nor folders that match one."""
    files: tuple[str, ...] | None = None
    """Only these, by names relative to ``source`` (or absolute ones inside it); None: all."""
    keep_times: bool = False
    """Outputs get their photo's modification time."""
    content_hash: bool = False
    """Photos are told apart by SHA-256, not by size and modification time."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        from portrait_sdk.ops.refine import Refine

        if self.refine not in get_args(Refine):
            raise OptionError(
                f"refine: expected one of {', '.join(get_args(Refine))}, got {self.refine!r}"
            )

    def to_json(self) -> str:
        """As JSON, which :meth:`from_json` reads."""
        return json.dumps({"portrait_folder_job": _VERSION, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> FolderJob:
        """Read what :meth:`to_json` wrote.

        Raises:
            OptionError: It is something else, or of a newer release.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            version = found.pop("portrait_folder_job")
            if version != _VERSION:
                raise OptionError(f"folder job: expected version {_VERSION}, got {version!r}")
            outputs = found.pop("outputs")
            pictures = tuple(Output(**picture) for picture in outputs.pop("pictures"))
            found["outputs"] = Outputs(pictures=pictures, **outputs)
            for name in ("include", "exclude", "files"):
                found[name] = None if found[name] is None else tuple(found[name])
            return cls(**found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError(f"folder job: cannot be read: {first_line(error)}") from error

    def options(self) -> str:
        """A hash of all that decides the bytes and times of an output, the model apart.

        Raises:
            ImageError: The background picture cannot be read.
        """
        facts = dataclasses.asdict(self.outputs)
        facts["pictures"] = sorted(facts["pictures"], key=lambda picture: str(picture["kind"]))
        facts |= {"refine": self.refine, "keep_times": self.keep_times}
        if self.outputs.background is not None and os.path.isfile(self.outputs.background):  # noqa: PTH113 - Path raises for a name too long
            facts["background"] = file_sha256(self.outputs.background)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def check_apart(self) -> None:
        """Refuse a target where a result could replace a photo.

        Raises:
            OptionError: It is the source, or around it.
        """
        if Path(os.path.realpath(self.source)).is_relative_to(os.path.realpath(self.target)):
            raise OptionError(
                f"{self.target!r}: is the folder of the photos or around it, where a result could "
                "replace a photo; choose another, which may lie inside it"
            )

    def check_folders(self) -> None:
        """Refuse folders that no run can work on.

        Raises:
            OptionError: The source is no folder; or as :meth:`check_apart`.
        """
        source = Path(self.source)
        if not source.is_dir():
            what = "is a file" if source.exists() else "no such folder"
            raise OptionError(f"{self.source!r}: {what}; expected a folder of photos")
        self.check_apart()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(
            f"{os.fsdecode(path)!r}: cannot be read: {error.strerror or error}"
        ) from error
