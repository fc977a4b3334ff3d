"""Where a photo lies in the input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait_sdk.ops.geometry import place
from portrait_sdk.spec import SizePolicy

DATA = Path(__file__).resolve().parents[1] / "data"
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@pytest.mark.parametrize(
    ("size", "policy", "goal"),
    [
        ((3000, 4000), SizePolicy(rule="fixed", height=320, width=320), (320, 320)),
        ((3000, 4000), SizePolicy(rule="short-side", side=512, multiple=32), (512, 672)),
        ((3000, 4000), SizePolicy(rule="long-side", side=512, multiple=32), (384, 512)),
        ((827, 550), SizePolicy(rule="long-side", side=448, multiple=32), (448, 288)),
        ((827, 550), SizePolicy(rule="area", side=528, multiple=32), (640, 416)),
        ((600, 600), SizePolicy(rule="area", side=528, multiple=32), (544, 544)),
        # leave_straddling is short-side's alone.
        ((300, 1000), SizePolicy(rule="area", side=576, leave_straddling=True), (315, 1051)),
        ((1, 1), SizePolicy(rule="area", side=64, multiple=32), (64, 64)),
        # 16 times as wide as high would need 4 x side: a panorama beyond that is capped.
        ((100, 1600), SizePolicy(rule="area", side=64, multiple=1), (16, 256)),
        ((100, 6400), SizePolicy(rule="area", side=64, multiple=1), (4, 256)),
        ((100, 100), SizePolicy(rule="native", multiple=32), (96, 96)),
        ((100, 100), SizePolicy(rule="native", multiple=32, rounding="up"), (128, 128)),
        ((127, 127), SizePolicy(rule="native", multiple=32, rounding="down"), (96, 96)),
        ((1, 1), SizePolicy(rule="long-side", side=448, multiple=32), (448, 448)),
        ((1, 4000), SizePolicy(rule="long-side", side=448, multiple=32), (32, 448)),
        # A panorama under short-side would need 20,480 px: capped at 4 x side.
        ((100, 4000), SizePolicy(rule="short-side", side=512, multiple=32), (64, 2048)),
        ((3000, 1000), SizePolicy(rule="native", max_side=600), (600, 200)),
    ],
)
def test_sizes(size: tuple[int, int], policy: SizePolicy, goal: tuple[int, int]) -> None:
    found = place(size, policy)
    assert found.input == goal
    assert (found.top, found.left, found.height, found.width) == (0, 0, *goal)


def test_letterbox_keeps_the_aspect_and_is_centred() -> None:
    found = place((1000, 500), SizePolicy(rule="fixed", height=320, width=320, fit="letterbox"))
    assert (found.height, found.width, found.top, found.left) == (320, 160, 0, 80)
    assert found.padded


@given(
    size=sizes,
    side=st.integers(32, 1024),
    multiple=st.sampled_from([1, 8, 32]),
    rule=st.sampled_from(["short-side", "long-side", "area"]),
    fit=st.sampled_from(["stretch", "letterbox"]),
    rounding=st.sampled_from(["nearest", "up", "down"]),
)
def test_the_photo_lies_inside_and_sides_are_multiples(
    size: tuple[int, int], side: int, multiple: int, rule: str, fit: str, rounding: str
) -> None:
    policy = SizePolicy(rule=rule, side=side, multiple=multiple, fit=fit, rounding=rounding)  # type: ignore[arg-type]
    found = place(size, policy)
    assert all(s >= multiple and s % multiple == 0 for s in found.input)
    assert 0 <= found.top <= found.top + found.height <= found.input[0]
    assert 0 <= found.left <= found.left + found.width <= found.input[1]
    assert max(found.input) <= 4 * side + multiple


def test_published_sizes_of_a_short_side_model() -> None:
    """The exact sizes of a published pipeline: short side 768, the other up to a multiple of 32."""
    table = json.loads((DATA / "golden/portraitmatting_sizes.json").read_text("ascii"))
    policy = SizePolicy(
        rule="short-side", side=table["maxhw"], max_side=10**9, multiple=32, rounding="up"
    )
    assert len(table["cases"]) > 20
    for height, width, *goal in table["cases"]:
        assert list(place((height, width), policy).input) == goal, (height, width)
