"""By how much files differ, and which rule would let them agree: tried before it is told."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kinds import KINDS, VALUES
from unit.test_my_file import agree

from nexapod_batch.compare.reporting import told
from nexapod_batch.compare.suggesting import suggested
from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.model.job import CompareRule
from nexapod_batch.wording.figures import lines


def compared(name: str, left: bytes, right: bytes, rule: CompareRule | None = None) -> dict[str, Any]:
    """Return what is told of two contents."""
    return told(partial(io.BytesIO, left), partial(io.BytesIO, right), name, rule or CompareRule())


def rule_of(text: str, name: str = "a") -> CompareRule:
    """Return the rule of a line for a descriptor."""
    keys = "\n".join(part.replace("\0", ", ") for part in _split(text))
    parsed = parse(f'schema = 1\n[job]\ncommand = ["true"]\n[[outputs]]\npath = "{name}"\n{keys}\n', Path("/"))
    return parsed.job.outputs[0].rule


def _split(text: str) -> list[str]:
    head, mark, ignore = text.partition(", ignore = ")
    return [*head.split(", "), *([f"ignore = {ignore}"] if mark else [])]


#: Kinds of which nothing can be told: what differs is all that there is, or is no noise.
NOTHING = {
    "a log that can never agree", "CSV with decimal commas", "Excel .xlsx", "a pickle", "DICOM with UIDs and times of its own", "SVG of matplotlib",
    "PDF of matplotlib",
}  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NOTHING])
def test_the_rule_that_is_told_would_do(kind: str) -> None:
    """For every kind of file of the page; a falsified file would still differ under it."""
    name, write = KINDS[kind]
    one, other = write(VALUES, "2026-11-01"), write(VALUES * (1 + 1e-14), "2026-11-02")
    found = compared(name, one, other)
    if found["agree"]:
        return
    rule = rule_of(found["would_agree"], name)
    assert agree(name, one, other, rule)
    assert not agree(name, one, write(VALUES + 2, "2026-11-01"), rule)
    assert all(line.isprintable() for line in lines(found))


def test_how_far_values_are_is_measured() -> None:
    """How many differ of how many, the largest differences and where, and how they are spread."""
    found = compared("a.txt", b"E 1.0 2.0 3\n-4.0 5.5\n", b"E 1.0 2.002 3\n-4.0004 5.5\n")["figures"]
    assert (found["values"], found["numbers"], found["texts"]) == (5, 2, 0)
    assert found["absolute"]["by"] == pytest.approx(0.002)
    assert found["absolute"]["where"] == "line 1, word 3"
    assert found["relative"]["by"] == pytest.approx(0.002 / 2.002)
    assert found["decades"] == {"-5": 1, "-4": 1}


@pytest.mark.parametrize(
    ("left", "right", "kinds"),
    [
        (b"on 2026-11-01\n", b"on 2026-11-02\n", ["dates"]), (b"in /tmp/a/b\n", b"in /tmp/c/d\n", ["paths"]),
        (b"by ana\n", b"by bob\n", ["words"]), (b"by ana 2026-11-01\n", b"by bob 2026-11-02\n", ["words", "dates"]),
    ],
)  # fmt: skip
def test_what_kind_of_words_differ_is_told(left: bytes, right: bytes, kinds: list[str]) -> None:
    """Dates, paths, or words of another kind."""
    assert compared("a.txt", left, right)["figures"]["kinds"] == kinds


def test_where_something_else_stands_measuring_ends() -> None:
    """Behind a line more, every number would be compared with another one."""
    found = compared("a.txt", b"1.0\n2.0\n3.0\n", b"1.0\n2.0 2.5\n3.0\n")["figures"]
    assert found["shape"] == "line 2, word 2"
    assert found["numbers"] == 0


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("a.txt", b"E 1.5\n", b"E 1.6\n"), ("a.txt", b"state A\n", b"state B\n"), ("a.csv", b"id,x\na,1\n", b"id,x\nb,1\n"),
        ("a.json", b'{"answer": 1}', b'{"answer": 2}'), ("a.txt", b"n 12345678\n", b"n 12345679\n"),
    ],
)  # fmt: skip
def test_no_rule_is_told_that_would_let_another_answer_pass(name: str, left: bytes, right: bytes) -> None:
    """What differs by more than noise, or is no date, stays a difference."""
    assert compared(name, left, right)["would_agree"] is None


def test_bytes_of_a_binary_format_are_never_shown() -> None:
    """Where only the packing differs, that is what is said."""
    name, write = KINDS["an image (PNG, TIFF)"]
    found = compared(name, write(VALUES, "2026-11-01"), write(VALUES, "2026-11-02"))
    assert found["first"]["where"] == "bytes alone"
    assert found["would_agree"] == 'compare = "content"'


def test_what_is_no_table_has_its_first_byte_alone() -> None:
    """Nothing is measured of it."""
    found = compared("a.bin", b"\0\1", b"\0\2")
    assert found["first"]["where"] == "byte 1 (line 1)"
    assert "figures" not in found


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
@pytest.mark.parametrize(("last", "rule"), [("2.500000000001", "significant"), ("2.6", None), ("2.500000000001\n1", None), ("x", None)])
def test_a_rule_is_told_after_it_was_tried_to_the_end(name: str, last: str, rule: str | None) -> None:
    """What differs stands behind many of the same numbers."""
    body = b"1.25,2.5\n3.75,-1.5\n" * 8_000
    files = [body + f"7.5,{cell}\n".encode() for cell in ("2.5", last)]
    found = suggested(lambda: io.BytesIO(files[0]), lambda: io.BytesIO(files[1]), name, CompareRule())
    assert (found and str(found.comparator)) == rule
