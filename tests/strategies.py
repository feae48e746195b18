"""What property tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["built"]

_Made = TypeVar("_Made")


def built(kind: Callable[..., _Made], **fields: st.SearchStrategy[object]) -> st.SearchStrategy[_Made]:
    """As `builds`, and without a look at annotations, which may name what only a type checker imports."""

    def make(**given: object) -> _Made:
        return kind(**given)

    return st.builds(make, **fields)
