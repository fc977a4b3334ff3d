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
    image: Image | ImageF32,
    alpha: AlphaF32,
    foreground: Image | ImageF32,
    background: Image | ImageF32,
    foreground_out: Image | ImageF32,
    background_out: ImageF32 | None,
    size: int,
    first: int,
    last: int,
    *,
    isa: str | None = None,
) -> None: ...
def multilevel(
    image: Image | ImageF32,
    alpha: AlphaF32,
    foreground: Image | ImageF32,
    background: ImageF32 | None,
    regularization: float,
    gradient_weight: float,
    small_size: int,
    small_iterations: int,
    big_iterations: int,
    tiled_levels: int,
    *,
    isa: str | None = None,
) -> None: ...
def png_filter(
    image: U8Array, first: int, pixel: int, out: U8Array, *, isa: str | None = None
) -> None: ...
def deflate(data: U8Array, last: bool, out: U8Array, *, isa: str | None = None) -> int: ...
def multilevel_job(
    image: Image | ImageF32,
    alpha: AlphaF32,
    foreground: Image | ImageF32,
    background: ImageF32 | None,
    regularization: float,
    gradient_weight: float,
    small_size: int,
    small_iterations: int,
    big_iterations: int,
    tiled_levels: int,
    *,
    isa: str | None = None,
) -> object:
    """``multilevel`` as a job: done once all who joined it have returned, at least one of them."""

def multilevel_join(job: object) -> None:
    """Take part in a job until nothing of it is left to begin; on any number of threads."""

def guided_slopes(
    guide: Planes,
    alpha: AlphaF32,
    out: F32Array,
    first: int,
    epsilon: float,
    *,
    isa: str | None = None,
) -> None: ...
def connectivity(
    alpha: AlphaF32,
    truth: AlphaF32,
    thresholds: F32Array,
    held: U8Array,
    background: bool,
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
