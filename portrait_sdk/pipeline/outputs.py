"""What is made of a matte: which pictures, in which formats, over which background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from portrait_sdk.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portrait_sdk.api import Background, Matte
    from portrait_sdk.ops.foreground import Method

Kind: TypeAlias = Literal["cutout", "alpha", "foreground", "composite"]
Format: TypeAlias = Literal["png", "webp", "tiff", "jpeg"]

KINDS: tuple[Kind, ...] = get_args(Kind)
FORMATS: tuple[Format, ...] = get_args(Format)
METHODS = ("multilevel-fast", "multilevel", "blur-fusion", "closed-form", "none")
EXTENSIONS = {"png": ".png", "webp": ".webp", "tiff": ".tiff", "jpeg": ".jpg"}
_WITH_QUALITY = ("jpeg", "webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One picture for each photo.

    Raises:
        OptionError: The kind or format is unknown, or the format cannot hold the kind.
    """

    kind: Kind = "cutout"
    """``cutout``: RGBA with clean colours. ``alpha``: grey. ``foreground``: estimated colours
    alone. ``composite``: over the background."""
    format: Format = "png"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for what, value, known in (("kind", self.kind, KINDS), ("format", self.format, FORMATS)):
            if value not in known:
                raise OptionError(
                    f"output {what}: expected one of {', '.join(known)}; got {value!r}"
                )
        if self.kind == "cutout" and self.format == "jpeg":
            raise OptionError(
                "a cutout has alpha and JPEG has none: choose png, webp or tiff, "
                "or --output composite --background white"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The pictures for each photo, and what they have in common.

    Raises:
        OptionError: The values do not go together.
    """

    pictures: tuple[Output, ...] = (Output(),)
    """One of each kind at most."""
    background: str | None = None
    """For composites: a colour, a picture's path, or ``blur[:RADIUS]``."""
    foreground: Method | Literal["none"] = "multilevel-fast"
    """How edge colours are cleaned of the old background; ``none`` keeps the photo's own."""
    quality: int | None = None
    """1 to 100, of JPEG; makes WebP lossy."""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        kinds = [picture.kind for picture in self.pictures]
        if not kinds or len(set(kinds)) < len(kinds):
            raise OptionError(
                f"--output: expected each kind once, got {', '.join(kinds) or 'none'}"
            )
        if "composite" in kinds and self.background is None:
            raise OptionError("--output composite needs --background")
        if "composite" not in kinds and self.background is not None:
            raise OptionError(f"--background goes with --output composite, not {', '.join(kinds)}")
        if self.foreground not in METHODS:
            raise OptionError(
                f"foreground: expected one of {', '.join(METHODS)}; got {self.foreground!r}"
            )
        if self.quality is not None:
            if not any(picture.format in _WITH_QUALITY for picture in self.pictures):
                raise OptionError("--quality goes with a JPEG or WebP output")
            if not 1 <= self.quality <= 100:  # noqa: PLR2004 - its scale
                raise OptionError(f"quality: expected 1 to 100, got {self.quality}")

    @property
    def endings(self) -> tuple[str, ...]:
        """What follows a photo's stem for each picture: ``.png``; ``-alpha.png`` of several."""
        if len(self.pictures) == 1:
            return (EXTENSIONS[self.pictures[0].format],)
        return tuple(f"-{p.kind}{EXTENSIONS[p.format]}" for p in self.pictures)


def default_kinds(background: str | None) -> tuple[Kind, ...]:
    """What is made where no kind is named: a composite where there is a background."""
    return ("cutout",) if background is None else ("composite",)


def render(matte: Matte, kind: Kind, outputs: Outputs, background: Background | str | None) -> Any:  # noqa: ANN401 - grey, RGB or RGBA
    """The array to write: uint8 (H, W), (H, W, 3) or (H, W, 4).

    Args:
        matte: The photo's.
        kind: One of ``KINDS``.
        outputs: Its foreground method is used.
        background: Its background, as it stands or opened.

    Raises:
        ImageError, OptionError: As ``Matte.composite``.
    """
    method = None if outputs.foreground == "none" else outputs.foreground
    if kind == "alpha":
        from portrait_sdk.ops.kernels import quantize

        return quantize(matte.alpha)
    if kind == "foreground":
        return matte.image if method is None else matte.foreground(method)
    if kind == "composite":
        return matte.composite(background, method)
    return matte.cutout(method)


def encode(picture: Any, output: Output, quality: int | None) -> bytes:  # noqa: ANN401
    """Encode what ``render`` gave; ``quality`` counts where the format has one.

    Raises:
        OptionError: The format cannot hold so many pixels a side.
    """
    from portrait_sdk.media import encode_image

    return encode_image(
        picture, output.format, quality=quality if output.format in _WITH_QUALITY else None
    )


def parse(texts: Sequence[str], default: Format) -> tuple[Output, ...]:
    """Read ``cutout`` or ``composite:jpeg``, one for each output.

    Raises:
        OptionError: A kind or format is unknown.
    """
    found = []
    for text in texts:
        kind, _, form = text.partition(":")
        found.append(Output(kind=kind, format=form or default))  # type: ignore[arg-type]
    return tuple(found)
