"""Words that hold numbers without being one: a complex number, a number with its unit, columns that grew together.

What a word may be is narrow, so that no label is taken for a number: `1.5+2.0j`, `12.5%`, `3.2ms`, `0.1234-0.5678` (two
columns of Fortran without a blank between them), `3*0.5` (its repeats). Everything around the numbers must be the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.compare.numbers import value_of

if TYPE_CHECKING:
    from nexapod_batch.compare.numbers import Token

__all__ = ["Compound", "compound_of"]

_REAL = re.compile(rb"[+-]?(?:(?:0|[1-9]\d*)\.\d*|\.\d+)(?:[eEdD][+-]?\d+)?")
_MAY_BE = re.compile(rb"\(?[+-]?[0-9.]")
_UNITS = (
    rb"%|[fpnum]?s|\xc2\xb5[sm]|min|h|[pnumck]?m|A|\xc3\x85|m?eV|[kMG]eV|Ha|Ry|m?K|kJ|J|k?cal|N|[kMG]?Pa|bar|atm|m?V|"
    rb"[kMG]?W|[kMGT]?Hz|[kmu]?g|mol|[mu]?M|deg|rad|[kMGT]B|[KMGT]iB|[ji]|x"
)
#: The word with a NUL for each number.
_SKELETONS = re.compile(rb"\(?\0\0[jJ]\)?|\0(?:" + _UNITS + rb")|[1-9][0-9]*\*\0")
_GLUED = re.compile(rb"\0{2,}")
#: Decimal places at least of each column that grew together with the next one.
_GLUED_PLACES = re.compile(rb"[+-]?[0-9]*\.[0-9]{3,}(?:[eEdD][+-]?[0-9]+)?")


class Compound(NamedTuple):
    """Numbers, and what stands around them."""

    around: bytes  # the word with a NUL for each number
    values: tuple[bytes, ...]  # as they are written


def compound_of(token: Token) -> Compound | None:
    """Return the numbers that a word holds; None for a number by itself, and for any other text."""
    if not isinstance(token, bytes) or b"." not in token or len(token) > 300 or _MAY_BE.match(token) is None:
        return None
    values: list[bytes] = []
    end = -1
    for match in _REAL.finditer(token):
        if match.start() == end and match[0][:1] not in b"+-":
            return None  # 10.0.0.1, 1.5.2
        values.append(match[0])
        end = match.end()
    around = _REAL.sub(b"\0", token)
    if _SKELETONS.fullmatch(around) is None:
        glued = _GLUED.fullmatch(around) and all(_GLUED_PLACES.fullmatch(value) for value in values)
        if not glued:
            return None
    if any(value_of(value) is None for value in values):
        return None
    return Compound(around=around, values=tuple(values))
