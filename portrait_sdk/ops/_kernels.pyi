"""Types of the compiled kernels; what each means stands in ``_kernels_numpy.py``."""

from portrait_sdk.types import (
    AlphaF32,
    Cutout,
    F32Array,
    I32Array,
    Image,
    ImageF32,
    Planes,
    U8Array,
)

def isas() -> tuple[str, ...]:
    """Instruction sets usable on this processor, best first, ``"scalar"`` last."""

def resize_to_planes(
    image: Image,
    out: Planes,
    y_start: I32Array,
    y_weights: F32Array,
    x_start: I32Array,
    x_weights: F32Array,
    scale: F32Array,
    offset: F32Array,
    reverse: bool,
    *,
    isa: str | None = None,
) -> None: ...
def resize_alpha(
    alpha: AlphaF32,
    out: AlphaF32 | U8Array,
    y_start: I32Array,
    y_weights: F32Array,
    x_start: I32Array,
    x_weights: F32Array,
    *,
    isa: str | None = None,
) -> None: ...
def quantize(alpha: AlphaF32, out: U8Array, *, isa: str | None = None) -> None: ...
def cutout(foreground: Image, alpha: AlphaF32, out: Cutout, *, isa: str | None = None) -> None: ...
def composite(
    foreground: Image, alpha: AlphaF32, background: Image, out: Image, *, isa: str | None = None
) -> None: ...
def premultiply(straight: Cutout, out: Cutout, *, isa: str | None = None) -> None: ...
def unpremultiply(premultiplied: Cutout, out: Cutout, *, isa: str | None = None) -> None: ...
def blur_fusion(
    image: ImageF32,
    alpha: AlphaF32,
    foreground: ImageF32,
    background: ImageF32,
    foreground_out: ImageF32,
    background_out: ImageF32,
    size: int,
    *,
    isa: str | None = None,
) -> None: ...
def multilevel(
    image: ImageF32,
    alpha: AlphaF32,
    foreground: ImageF32,
    background: ImageF32,
    regularization: float,
    gradient_weight: float,
    small_size: int,
    small_iterations: int,
    big_iterations: int,
    *,
    isa: str | None = None,
) -> None: ...
def guided_slopes(
    guide: Planes,
    alpha: AlphaF32,
    out: F32Array,
    first: int,
    epsilon: float,
    *,
    isa: str | None = None,
) -> None: ...
def guided_detail(
    image: Image,
    slopes: F32Array,
    alpha: AlphaF32,
    out: AlphaF32,
    y_start: I32Array,
    y_weights: F32Array,
    x_start: I32Array,
    x_weights: F32Array,
    *,
    isa: str | None = None,
) -> None: ...
