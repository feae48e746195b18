"""Pages of lists: `?after=&limit=` in, `{items, next}` out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.server import problems
from nexapod_batch.server.calls import Query
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from nexapod_batch.server.calls import Call

__all__ = ["AFTER", "LIMIT", "after_of", "index_of", "limit_of"]

_MOST, _USUAL = 1_000, 100
_LARGEST = 2**63 - 1

AFTER = Query("after", str, "Where the page begins: `next` of the page before it.")
LIMIT = Query("limit", int, f"Items of a page, at most {_MOST}.")


def limit_of(call: Call) -> int:
    """Return how many items somebody wants; RequestError for no number. More than there may be is as many as may be."""
    text = call.query.get("limit", str(_USUAL))
    if not (text.isascii() and text.isdigit()) or not int(text[:20]) > 0:
        raise RequestError(problems.BAD_REQUEST, "limit", got=quoted(text), wanted=f"1 to {_MOST}")
    return min(int(text[:20]), _MOST)


def after_of(call: Call) -> int:
    """Return after which number a page begins, 0 where nothing is said; RequestError for no number."""
    text = call.query.get("after", "0")
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _LARGEST:
        raise RequestError(problems.BAD_REQUEST, "after", got=quoted(text), wanted="`next` of a page")
    return int(text)


def index_of(call: Call, name: str) -> int | None:
    """Return the number of a task or replica from the query, None where nothing is said; RequestError for no number."""
    text = call.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise RequestError(problems.BAD_REQUEST, name, got=quoted(text), wanted="a number")
    return int(text)
