"""What can be told of two versions of a file, as JSON types: whether they agree, how far they are, what would do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from nexapod_batch.compare.causes import NUMBERS, PACKING, causes_of_lines
from nexapod_batch.compare.figures import measured
from nexapod_batch.compare.formats.reading import BINARY, LINES_BY_PATTERN
from nexapod_batch.compare.places import place_of
from nexapod_batch.compare.registry import first_difference
from nexapod_batch.compare.stream import Source
from nexapod_batch.compare.suggesting import as_descriptor, suggested
from nexapod_batch.compare.unpacking import is_packed
from nexapod_batch.errors import CompareError, CompareTimeError
from nexapod_batch.model.job import Agreement, Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nexapod_batch.compare.figures import Figures
    from nexapod_batch.compare.ports import Difference

__all__ = ["told"]

#: What is shown where nothing but the packing of a binary file differs.
_PACKING = {"where": "bytes alone", "place": {}, "left": "the same values", "right": "the same values"}


def _first(difference: Difference | None) -> dict[str, Any]:
    """Return the first difference as JSON types; bytes of a binary format are never shown."""
    if difference is None:
        return _PACKING
    where = difference.where
    return {"where": where, "place": place_of(where), "left": difference.left, "right": difference.right}


def _figures(figures: Figures) -> dict[str, Any]:
    """Return figures as JSON types, places as data beside what people call them."""
    document: dict[str, Any] = msgspec.to_builtins(figures, str_keys=True)
    for key in ("absolute", "relative"):
        if document[key] is not None:
            document[key]["place"] = place_of(document[key]["where"])
            if not math.isfinite(document[key]["by"]):  # which JSON has no number for
                document[key]["by"] = None
    return document


def _causes(
    left: Callable[[], BinaryIO], right: Callable[[], BinaryIO], name: str, rule: CompareRule, figures: Figures,
    hosts: Sequence[str],
) -> list[str]:
    """Return the kinds of things that are all in which two files differ."""
    causes = figures.causes
    if figures.format not in BINARY:
        with left() as one, right() as other:
            sources = Source(one, name, rule), Source(other, name, rule)
            causes = causes_of_lines(*sources, bare=figures.format in LINES_BY_PATTERN, hosts=hosts)
    if causes in ([], [NUMBERS]) and not figures.numbers and not figures.texts and not figures.shape:
        return [PACKING]
    return causes


def _is_packed(stream: Callable[[], BinaryIO]) -> bool:
    with stream() as opened:
        return is_packed(Source(opened, "").head)


def told(
    left: Callable[[], BinaryIO], right: Callable[[], BinaryIO], name: str, rule: CompareRule,
    hosts: Sequence[str] = (),
) -> dict[str, Any]:
    """Return whether two files agree under a rule and, where they do not, the first difference, figures and a rule.

    `left` and `right` open the files, from their starts, as often as they are called; `hosts` are names of machines
    that may stand in them. Raises OSError, and
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
            figures = measured(Source(one, name, rule), Source(other, name, rule), hosts)
        if rule.agreement is Agreement.BYTES and (figures.format in BINARY or _is_packed(left)):
            with left() as one, right() as other:
                difference = first_difference(one, other, name, CompareRule(comparator=Comparator.CONTENT))
    except CompareError:  # no table: where bytes differ is all there is
        return document | {"first": _first(difference)}
    if not figures.through:
        figures.causes = _causes(left, right, name, rule, figures, hosts)
    document |= {"first": _first(difference), "figures": _figures(figures)}
    try:
        found = suggested(left, right, name, rule)
    except CompareTimeError:  # then it is not known whether there is one
        return document
    document["would_agree"] = None if found is None else as_descriptor(found)
    return document
