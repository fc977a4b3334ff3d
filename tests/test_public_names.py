"""``__all__`` is what is there, and it is documented."""

from __future__ import annotations

from importlib import metadata

import pytest

import portrait_sdk


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert list(portrait_sdk.__all__) == sorted(portrait_sdk.__all__)
    for name in portrait_sdk.__all__:
        assert getattr(portrait_sdk, name) is not None


def test_lazy_names_are_the_public_ones() -> None:
    assert set(portrait_sdk._HOME) | {"__version__"} == set(portrait_sdk.__all__)


@pytest.mark.parametrize("name", sorted(set(portrait_sdk.__all__) - {"__version__"}))
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert (getattr(portrait_sdk, name).__doc__ or "").strip()


def test_version_is_the_distributions() -> None:
    assert portrait_sdk.__version__ == metadata.version("portrait-sdk")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = portrait_sdk.nonsense  # type: ignore[attr-defined]
