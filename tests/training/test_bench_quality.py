"""What ``benchmarks/bench_quality.py`` measures is what it says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
_path = sys.path.copy()
sys.path.insert(0, str(CHECKOUT / "benchmarks"))
import bench_quality  # noqa: E402

sys.path[:] = _path  # the checkout is on it since; what is tested is what is installed


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rng = np.random.default_rng(1)
    coarse = rng.integers(30, 220, (9, 7, 3)).astype(np.uint8)
    image = np.asarray(cv2.resize(coarse, (112, 144), interpolation=cv2.INTER_CUBIC), np.uint8)
    image[60:90, 40:80] = (230, 60, 40)
    return image


def disc(x: float, y: float, soft: float = 2.0) -> np.ndarray:
    """Alpha of a person of no particular shape."""
    rows, columns = np.mgrid[0:144, 0:112].astype(np.float32)
    return np.clip((30 - np.hypot(columns - x, (rows - y) / 1.6)) / soft, 0, 1)


@pytest.mark.parametrize(("right", "below"), [(0.0, 0.0), (0.8, -0.5), (-0.6, 0.4)])
def test_displacement_is_where_the_truth_lies(right: float, below: float) -> None:
    found = bench_quality.displacement(disc(56, 72), disc(56 + right, 72 + below))
    assert found == pytest.approx((right, below), abs=0.15)


def test_moved_makes_up_for_a_list_that_lies_aside() -> None:
    alphas = [disc(56, 72), disc(50, 70), disc(60, 76)]
    truths = [disc(57, 71.2), disc(51, 69.2), disc(61, 75.2)]
    found = bench_quality.moved(alphas, truths)
    assert (found["right"], found["below"]) == pytest.approx((1, -0.8), abs=0.15)
    before = np.mean([bench_quality.metrics.iou(a, t) for a, t in zip(alphas, truths, strict=True)])
    assert before < 0.975
    assert 0.99 < found["iou"] <= 1
    assert found["mad"] < 0.003


@pytest.mark.parametrize(("right", "below"), [(0.0, 0.0), (0.5, -0.25), (-0.6, 0.4)])
@pytest.mark.parametrize("soft", [1.0, 3.0])
def test_whether_alpha_or_the_truth_lies_aside_is_told_by_the_photo(
    right: float, below: float, soft: float
) -> None:
    centres = [(56, 72), (50, 70), (60, 76)]
    photos = [np.dstack([np.rint(disc(x, y) * 150 + 40).astype(np.uint8)] * 3) for x, y in centres]
    alphas = [disc(x + right, y + below, soft) for x, y in centres]
    found = bench_quality.off_the_photo(alphas, photos)
    assert (found["right"], found["below"]) == pytest.approx((right, below), abs=0.1)


def test_fine_hair_is_the_soft_part_around_the_head() -> None:
    solid, soft = (np.rint(disc(56, 72, soft) * 255).astype(np.uint8) for soft in (2.0, 12.0))
    assert 0 < bench_quality.fine_hair(solid) < 0.25 < bench_quality.fine_hair(soft)


def test_poor_photos_are_poor_as_they_say(photo: np.ndarray) -> None:
    poor = {kind: change(photo) for kind, change in bench_quality.POOR.items()}
    assert {one.shape for one in poor.values()} == {photo.shape}
    assert {one.dtype for one in poor.values()} == {np.dtype(np.uint8)}
    assert np.ptp(poor["grey"].astype(int), axis=2).max() == 0
    np.testing.assert_allclose(poor["dark"], photo * 0.35, atol=0.51)
    detail = {kind: cv2.Laplacian(one, cv2.CV_32F).std() for kind, one in poor.items()}
    assert detail["blurred"] < 0.7 * cv2.Laplacian(photo, cv2.CV_32F).std()
    # Turned and turned back: the photo itself, but for JPEG's loss.
    assert np.abs(poor["turned, by EXIF"].astype(int) - photo).mean() < 4
    assert 0 < np.abs(poor["JPEG, quality 30"].astype(int) - photo).mean() < 12


def test_only_skin_is_made_darker() -> None:
    photo = np.full((144, 112, 3), (40, 90, 160), np.uint8)
    photo[30:80, 30:80] = (224, 172, 140)
    alpha = np.zeros((144, 112), np.uint8)
    alpha[10:130, 20:90] = 255
    darker = bench_quality.darker_skin(photo, alpha).astype(int)
    assert darker[40:70, 40:70].mean() < 0.65 * photo[40:70, 40:70].mean()
    assert np.abs(darker[100:] - photo[100:]).max() <= 1
    unknown = bench_quality.darker_skin(photo, np.zeros_like(alpha)).astype(int)
    assert np.abs(unknown - photo).max() <= 1  # nobody there


def test_references_of_photos_from_elsewhere_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="its references need modnet, too"):
        bench_quality._elsewhere(tmp_path, {"elsewhere": {"modnet": ["a.jpg"]}}, [])
