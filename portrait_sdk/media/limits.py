"""How large a picture may be, decided from its header before memory is taken for it."""

from __future__ import annotations

from dataclasses import dataclass

from portrait_sdk.errors import ImageTooLargeError, OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an encoded picture may be at most. Arrays are not limited: their memory is spent."""

    max_pixels: int | None = 178_956_970
    """Width times height; None for no limit. From the default on, Pillow itself refuses some."""
    max_bytes: int | None = 512 * 2**20
    """Length of the encoded file; None for no limit. No more than one byte past it is ever read."""

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep."""
        for name, value in (("max_pixels", self.max_pixels), ("max_bytes", self.max_bytes)):
            if value is not None and value < 1:
                raise OptionError(f"{name}: expected at least 1, or None for no limit; got {value}")

    def check_pixels(self, width: int, height: int, name: str) -> None:
        """Refuse a picture of too many pixels; ``name`` says which, in the message.

        Raises:
            ImageTooLargeError: ``width * height`` passes ``max_pixels``.
        """
        if self.max_pixels is not None and width * height > self.max_pixels:
            raise ImageTooLargeError(
                f"{name}: its header claims {width} x {height} = {width * height:,} pixels, more"
                f" than the limit of {self.max_pixels:,}; Limits(max_pixels=...) raises it"
            )

    def check_bytes(self, size: int, name: str) -> None:
        """Refuse an encoded file of too many bytes; ``name`` says which, in the message.

        Raises:
            ImageTooLargeError: ``size`` passes ``max_bytes``.
        """
        if self.max_bytes is not None and size > self.max_bytes:
            raise ImageTooLargeError(
                f"{name}: holds more bytes than the limit of {self.max_bytes:,};"
                " Limits(max_bytes=...) raises it"
            )


DEFAULT_LIMITS = Limits()
