"""Tables whose rows stand in any order, and the habits of CSV: delimiters, decimal commas, quotes, blank lines."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.errors import CompareError, DescriptorError
from nexapod_batch.model.job import Comparator, CompareRule

SIX = CompareRule(comparator=Comparator.SIGNIFICANT, digits=6)


def digest(data: bytes, rule: CompareRule, name: str = "a.csv") -> str | None:
    """Return the digest of a file."""
    return normalized_digest(io.BytesIO(data), name, rule)


#: name -> file, the same with other noise in another order, and one that is another answer
UNORDERED: dict[str, tuple[str, bytes, bytes, bytes]] = {
    "rows": ("a.csv", b"n,x\na,1.5\nb,2.5\n", b"n,x\nb,2.50000001\na,1.5\n", b"n,x\na,2.5\nb,1.5\n"),
    "rows that stand there twice": ("a.csv", b"n\na\na\nb\n", b"n\nb\na\na\n", b"n\na\nb\nb\n"),
    "rows with line ends in cells": ("a.csv", b'n\n"a\nb"\nc\n', b'n\nc\n"a\nb"\n', b'n\n"a\nc"\nb\n'),
    "lines": ("a.txt", b"1.5 x\n2.5 y\n", b"2.5 y\n1.5 x", b"1.5 y\n2.5 x\n"),
    "documents": ("a.jsonl", b'{"a": 1.5, "b": [1]}\n{"a": 2}\n3\n', b'3\n{"a": 2}\n{"b": [1], "a": 1.50000001}\n', b'{"a": 2, "b": [1]}\n{"a": 1.5}\n3\n'),
    "one more": ("a.txt", b"a\nb\n", b"b\na\n", b"b\na\na\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNORDERED)
def test_the_order_does_not_count(case: str) -> None:
    """Only where the rule says so, and how often a line stands there does."""
    name, left, right, other = UNORDERED[case]
    rule = SIX._replace(unordered=True)
    assert digest(left, rule, name) == digest(right, rule, name) != digest(other, rule, name)
    assert digest(left, SIX, name) != digest(right, SIX, name)
    assert digest(left, rule, name) != digest(left, SIX, name)
    assert first_difference(io.BytesIO(left), io.BytesIO(right), name, rule) is None
    assert first_difference(io.BytesIO(left), io.BytesIO(other), name, rule) is not None


def test_a_line_that_one_side_lacks_is_shown() -> None:
    """With its number."""
    rule = SIX._replace(unordered=True)
    found = first_difference(io.BytesIO(b"a 1\nb 2\n"), io.BytesIO(b"b 2\nc 3\n"), "a.txt", rule)
    assert found is not None
    assert (found.where, found.left, found.right) == ("in any order, line", "1: a 1.00000e+00", "2: c 3.00000e+00")


def test_what_has_no_lines_has_no_order() -> None:
    """It is refused."""
    with pytest.raises(CompareError, match="unordered is for lines"):
        digest(b"\x93NUMPY\x01\x00F\x00{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }".ljust(79) + b"\n", SIX._replace(unordered=True), "a.npy")


COMMA = SIX._replace(decimal=",", delimiter=";")
#: rule, two files, whether they agree
CELLS: dict[str, tuple[CompareRule, bytes, bytes, bool]] = {
    "a decimal comma is noise": (COMMA, b"x;y\n1,5;2\n", b"x;y\n1,50000001;2\n", True),
    "a decimal comma carries the value": (COMMA, b"1,5;2\n", b"1,6;2\n", False),
    "one in quotes": (COMMA, b'"1,5";2\n', b'"1,50000001";2\n', True),
    "without the key it is text": (SIX, b"1,5;2\n", b"1,50000001;2\n", False),
    "with it a point is text": (COMMA, b"1.5;2\n", b"1.50000001;2\n", False),
    "thousands are text": (COMMA, b"1.234,5;2\n", b"1.234,50000001;2\n", False),
    "another delimiter": (SIX._replace(delimiter="|"), b"a,b|1.5\n", b"a,b|1.50000001\n", True),
    "a cell is not cut elsewhere": (SIX._replace(delimiter="|"), b"a|1.5,2\n", b"a|1.50000001,2\n", False),
    "a mark of the encoding": (SIX, b"\xef\xbb\xbfx,y\n1,2\n", b"x,y\n1,2\n", True),
    "blank lines at the end": (SIX, b"x,y\n1,2\n", b"x,y\n1,2\n\n\n", True),
    "blank lines in the middle": (SIX, b"x\n\n1\n", b"x\n1\n", False),
    "empty cells": (SIX, b"1,,2\n", b"1,2,\n", False),
    "an empty cell is no zero": (SIX, b"1,\n", b"1,0\n", False),
    "zeros in front": (SIX, b"00501,1.5\n", b"501,1.5\n", False),
    "names that look like numbers": (SIX, b"0e4620,1\n", b"0e4621,1\n", False),
    "a quoted number is text": (SIX, b'"1.5",1\n', b'"1.50000001",1\n', False),
    "units in the header": (SIX, b"x [m],y (s)\n1.5,2\n", b"x [km],y (s)\n1.5,2\n", False),
    "line ends of Windows": (SIX, b"x,y\r\n1.5,2\r\n", b"x,y\n1.5,2\n", True),
}  # fmt: skip


@pytest.mark.parametrize("case", CELLS)
@pytest.mark.parametrize("times", [1, 8_000])
def test_cells(case: str, times: int) -> None:
    """In small tables, and in those whose rows are read many at once."""
    rule, left, right, equal = CELLS[case]
    tail = b"".join(b"%d%b2.5\n" % (row % 10, (rule.delimiter or ";").encode()) for row in range(times - 1))
    if tail and "at the end" not in case:
        left, right = (side.removesuffix(b"\n") + b"\n" + tail for side in (left, right))
    assert (digest(left, rule) == digest(right, rule)) is equal
    assert (first_difference(io.BytesIO(left), io.BytesIO(right), "a.csv", rule) is None) is equal


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ('path = "a.csv"\nunordered = true\n', "outputs[0].unordered"),
        ('path = "a.csv"\ncompare = "allclose"\nrtol = 1e-6\nunordered = true\n', "outputs[0].unordered"),
        ('path = "a.txt"\ncompare = "significant"\ndigits = 3\ndecimal = ","\n', "outputs[0].decimal"),
        ('path = "a.csv"\ncompare = "significant"\ndigits = 3\ndecimal = ","\ndelimiter = ","\n', "outputs[0].delimiter"),
        ('path = "a.csv"\ncompare = "significant"\ndigits = 3\ndelimiter = "ab"\n', "outputs[0].delimiter"),
        ('path = "a.csv"\ncompare = "significant"\ndigits = 3\ndelimiter = "\\""\n', "outputs[0].delimiter"),
    ],
)
def test_keys_that_mean_nothing_are_refused(lines: str, fault: str) -> None:
    """At submit."""
    with pytest.raises(DescriptorError) as refused:
        parse(f'schema = 1\n[job]\nname = "x"\ncommand = ["true"]\n[[outputs]]\n{lines}', Path("/"))
    assert fault in str(refused.value)


def test_the_keys_reach_the_rule() -> None:
    """And its digest."""
    lines = 'path = "a.csv"\ncompare = "significant"\ndigits = 6\ndelimiter = "tab"\ndecimal = ","\nunordered = true\n'
    parsed = parse(f'schema = 1\n[job]\nname = "x"\ncommand = ["true"]\n[[outputs]]\n{lines}', Path("/"))
    (output,) = parsed.job.outputs
    assert output.rule == SIX._replace(delimiter="\t", decimal=",", unordered=True)


@pytest.mark.parametrize("name", ["a.7z", "out/a.root", "a.tar.gz", "a.tar.zst", "a.pkl"])
@pytest.mark.parametrize("compare", ["content", "significant", "allclose"])
def test_what_no_comparator_looks_into_is_told_at_submit(name: str, compare: str) -> None:
    """Not after the first run; exact bytes of it can be compared."""
    keys = {"significant": "digits = 3\n", "allclose": "rtol = 1e-6\n"}.get(compare, "")
    text = f'schema = 1\n[job]\nname = "x"\ncommand = ["true"]\n[[outputs]]\npath = "{name}"\n'
    with pytest.raises(DescriptorError, match="cannot look into"):
        parse(f'{text}compare = "{compare}"\n{keys}', Path("/"))
    assert parse(text, Path("/")).job.outputs


@pytest.mark.parametrize("name", ["a.h5", "a.dbx", "db.txt", "zip/a.txt", "a.tar.txt.csv", "a.sqlite", "*.db", "a.zarr.zip", "a.ZIP", "a.zarr", "a.zarr/**", "fort.7", "a.csv.gz"])
def test_what_is_looked_into_is_not_refused(name: str) -> None:
    """Only the ends of names tell a format."""
    parse(f'schema = 1\n[job]\nname = "x"\ncommand = ["true"]\n[[outputs]]\npath = "{name}"\ncompare = "content"\n', Path("/"))
