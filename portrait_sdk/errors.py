"""What can go wrong, as a tree.

PortraitError
├── ImageError (ValueError)        a picture or array is not what was asked for, or is damaged
│   └── ImageTooLargeError         it passes a pixel or byte limit; raised before memory is taken
├── DatasetError (ValueError)      a dataset's folder is not laid out as its kind is
├── OptionError (ValueError)       an argument has a value that is not known or not possible
├── ModelError (ValueError)        a model file is missing, damaged, or not one this runtime loads
│   ├── SpecError                  its description of itself is missing, newer, or contradictory
│   ├── CheckpointError            a checkpoint is damaged, unsafe, or fits no architecture
│   └── ConversionError            a converted graph computes something else than its source
├── ProviderError (RuntimeError)   an execution provider asked for by name cannot be had
├── ClosedError (RuntimeError)     used after ``close()``, or in another process than its own
├── DownloadError (OSError)        a published model cannot be fetched, or has another hash
└── OutputError (OSError)          a result could not be written; nothing is left behind

Each message names what was given, what was expected, and the way on, in one line.
"""

from __future__ import annotations


class PortraitError(Exception):
    """The root of every error this package raises on purpose."""

    def __str__(self) -> str:
        """The message in one printable line, whatever bytes a file's name holds."""
        return printable(super().__str__())


class ImageError(PortraitError, ValueError):
    """A picture or array is not what was asked for, or cannot be decoded."""


class ImageTooLargeError(ImageError):
    """A picture passes a pixel or byte limit; raised before memory is taken for it."""


class DatasetError(PortraitError, ValueError):
    """A dataset's folder is not laid out as its kind is, or lacks what was asked of it."""


class OptionError(PortraitError, ValueError):
    """An argument has a value that is not known or not possible."""


class ModelError(PortraitError, ValueError):
    """A model file is missing, damaged, or not one this runtime can load."""


class SpecError(ModelError):
    """A model's description of itself is missing, newer than this release, or contradictory."""


class CheckpointError(ModelError):
    """A checkpoint is damaged, wants code to run, or does not fit the architecture."""

    table = ""
    """For key mismatches: every missing, unexpected and misshapen key, in lines."""


class ConversionError(ModelError):
    """A step of a conversion failed, or its graph computes something else than its source."""


class ProviderError(PortraitError, RuntimeError):
    """An execution provider asked for by name cannot be had."""


class ClosedError(PortraitError, RuntimeError):
    """Used after ``close()``, or in another process than it was opened in."""


class DownloadError(PortraitError, OSError):
    """A published model could not be fetched or does not match its hash."""


class OutputError(PortraitError, OSError):
    """A result could not be written; nothing is left behind."""


def printable(text: str) -> str:
    """Text in one line that any terminal takes, whatever a file's name in it holds."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
