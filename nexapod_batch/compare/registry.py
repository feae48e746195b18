r"""Comparators by name, and what is done with an output whatever its comparator is.

The normalised digest is the SHA-256 of `nexapod-normalized:<version> <comparator> <digits> `, what is ignored if
anything is, and the normal form of the file. The version is that of the rules:

1. the first.
2. Others for what is a number; whole numbers are exact; an empty cell counts.
3. What is seen as well: carriage returns and form feeds, columns in lines of any length, exponents behind a decimal
   comma, the delimiter of CSV.
4. Arrays of .npy without their order in memory; more formats; numbers inside words; no blank lines at the end.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, assert_never, cast

from nexapod_batch.compare.budget import allowing
from nexapod_batch.model.job import Agreement

if TYPE_CHECKING:
    from nexapod_batch.compare.ports import Comparison, Difference, Normalization
    from nexapod_batch.model.job import Comparator, CompareRule

__all__ = ["RULES_VERSION", "comparison", "digest_of_bytes", "first_difference", "normalized_digest"]

RULES_VERSION = 4


def digest_of_bytes(sha256: str, rule: CompareRule) -> str:
    """Return the normalised digest of what a command printed, where that is compared byte by byte.

    `sha256` is that of what it printed. The normal form is a line `bytes`, which no format is called, and its digits.
    """
    return hashlib.sha256(f"{_head(rule)}bytes\n{sha256}".encode()).hexdigest()


def _head(rule: CompareRule) -> str:
    """Return what stands before the normal form: rules that are not the same have no digest in common."""
    text = f"nexapod-normalized:{RULES_VERSION} {rule.comparator} {rule.digits} "
    if rule.ignore:
        text += f"ignore {json.dumps(rule.ignore)} "
    for key in ("delimiter", "decimal", "comments", "quoted_numbers"):
        if value := getattr(rule, key):
            text += f"{key} {json.dumps(value)} "
    if rule.normalize:
        text += f"normalize {json.dumps(rule.normalize)} "
    return f"{text}unordered " if rule.unordered else text


@cache
def comparison(comparator: Comparator) -> Comparison:
    """Return what a comparator does: the `COMPARISON` of the module that has its name."""
    module = import_module(f"nexapod_batch.compare.comparators.{comparator.name.lower()}")
    return cast("Comparison", module.COMPARISON)


def first_difference(left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:
    """Return the first place at which two versions of a file differ under its rule; None when they agree.

    Raises CompareError for a file that is not of the format that its name promises or takes too long, and OSError.
    """
    with allowing(left, right):
        return comparison(rule.comparator).first_difference(left, right, name, rule)


def normalized_digest(stream: BinaryIO, name: str, rule: CompareRule) -> str | None:
    """Return the hex digest of the file's normal form; None where agreement is not by normal forms.

    Raises CompareError for a file that is not of the format that its name promises or takes too long, and OSError.
    """
    match rule.agreement:
        case Agreement.BYTES | Agreement.TOLERANCE | Agreement.NOTHING:
            return None
        case Agreement.NORMAL_FORM:
            normalization = cast("Normalization", comparison(rule.comparator))
            digest = hashlib.sha256(_head(rule).encode())
            with allowing(stream):
                for piece in normalization.normal_form(stream, name, rule):
                    digest.update(piece)
            return digest.hexdigest()
        case never:
            assert_never(never)
