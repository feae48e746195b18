"""What can be told of two versions of a file, as JSON types: whether they agree, how far they are, what would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from nexapod_batch.compare.figures import measured
from nexapod_batch.compare.formats.reading import BINARY
from nexapod_batch.compare.registry import first_difference
from nexapod_batch.compare.stream import Source
from nexapod_batch.compare.suggesting import as_descriptor, suggested
from nexapod_batch.compare.unpacking import is_packed
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Agreement, Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.ports import Difference

__all__ = ["told"]

#: What is shown where nothing but the packing of a binary file differs.
_PACKING = {"where": "bytes alone", "left": "the same values", "right": "the same values"}


def _first(difference: Difference | None) -> dict[str, str]:
    """Return the first difference as JSON types; bytes of a binary format are never shown."""
    if difference is None:
        return _PACKING
    return {"where": difference.where, "left": difference.left, "right": difference.right}


def _is_packed(stream: Callable[[], BinaryIO]) -> bool:
    with stream() as opened:
        return is_packed(Source(opened, "").head)


def told(
    left: Callable[[], BinaryIO], right: Callable[[], BinaryIO], name: str, rule: CompareRule
) -> dict[str, Any]:
    """Return whether two files agree under a rule and, where they do not, the first difference, figures and a rule.

    `left` and `right` open the files, from their starts, as often as they are called. Raises OSError, and
    ReaderMissingError where what reads a format is not installed here.
    """
    document: dict[str, Any] = {"name": name, "agree": False, "rule": as_descriptor(rule)}
    try:
        with left() as one, right() as other:
            difference = first_difference(one, other, name, rule)
    except CompareError as error:
        return document | {"unreadable": f"{error.what}: got {error.got}"}
    if difference is None:
        return document | {"agree": True}
    try:
        with left() as one, right() as other:
            figures = measured(Source(one, name, rule), Source(other, name, rule))
        if rule.agreement is Agreement.BYTES and (figures.format in BINARY or _is_packed(left)):
            with left() as one, right() as other:
                difference = first_difference(one, other, name, CompareRule(comparator=Comparator.CONTENT))
    except CompareError:  # no table: where bytes differ is all there is
        return document | {"first": _first(difference)}
    document |= {"first": _first(difference), "figures": msgspec.to_builtins(figures)}
    found = suggested(left, right, name, rule)
    document["would_agree"] = None if found is None else as_descriptor(found)
    return document
