"""What kinds of things two files differ in where nothing else does, and places as data."""

from __future__ import annotations

import gzip
import io
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from kinds import KINDS, VALUES

from nexapod_batch.compare.causes import causes_of
from nexapod_batch.compare.places import place_of
from nexapod_batch.compare.reporting import told
from nexapod_batch.model.job import Comparator, CompareRule
from nexapod_batch.wording.figures import lines

if TYPE_CHECKING:
    from collections.abc import Sequence


def compared(name: str, left: bytes, right: bytes, rule: CompareRule | None = None, hosts: Sequence[str] = ()) -> dict[str, Any]:
    """Return what is told of two contents."""
    return told(partial(io.BytesIO, left), partial(io.BytesIO, right), name, rule or CompareRule(), hosts)


def npz(**arrays: object) -> bytes:
    """Return an archive of arrays."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("made 2026-11-01T12:00:00Z", "made 2026-11-02T12:00:01Z"), ("made 2026-11-01", "made 2026-12-09"),
        ("Sun Nov  1 09:00:00 2026", "Mon Nov 30 13:05:23 2026"), ("Sun Nov 1 09:00:00 UTC 2026", "Mon Nov 2 13:05:23 UTC 2026"),
        ("at 12:00:01", "at 12:00:02"), ("at 9:15 AM", "at 10:16 PM"), ("20261101", "20261130"), ("on 1.11.2026", "on 30.11.2026"),
        ("D:20261101120000Z", "D:20261102120001Z"), ("01-Nov-2026 12:00:00.123", "02-Nov-2026 12:00:00.456"),
        ('"created_at": 1764512345.5,', '"created_at": 1764512346.75,'), ("elapsed time: 3.21", "elapsed time: 4.05"),
        ("2.5 seconds elapsed", "12.75 seconds elapsed"), ("November 1, 2026", "November 2, 2026"), ("wall=1.5e-3", "wall=2.5e-3"),
    ],
)  # fmt: skip
def test_dates_of_many_habits(left: str, right: str) -> None:
    """Dates and times of day, and how long something took, by the words around it."""
    assert causes_of(left, right) == frozenset({"dates"})


@pytest.mark.parametrize(
    ("left", "right", "causes"),
    [
        ("in /tmp/a/1_0.1/x.txt", "in /tmp/a/1_0.2/x.txt", {"paths"}), ("cmd: /work/a -o out", "cmd: /scratch/b/c -o out", {"paths"}),
        ("ran on host node17", "ran on host node18", {"hosts"}), ('"hostname": "n1.a.org"', '"hostname": "n2.b.org"', {"hosts"}),
        ("on login.cluster", "on gpu7.cluster", {"hosts"}), ("running on 4 OpenMP threads", "running on 8 OpenMP threads", {"threads"}),
        ("OMP_NUM_THREADS=4", "OMP_NUM_THREADS=16", {"threads"}), ("with 2 MPI processes", "with 4 MPI processes", {"threads"}),
        ("E = 1.5", "E = 1.6", {"numbers"}), ("x\r", "x", {"line_ends"}),
        ("2026-11-01 in /tmp/a/b", "2026-11-02 in /tmp/a/c", {"dates", "paths"}),
        ("2026-11-01 E=1.5 4 threads", "2026-11-02 E=1.50001 8 threads", {"dates", "numbers", "threads"}),
        ("state A", "state B", None), ("2026-11-01 state A", "2026-11-02 state B", None), ("m/s 1", "m/h 1", None),
        ("x /2", "x /3", {"numbers"}), ("id AB12", "id AC12", None), ("x" * 70_000 + "1", "x" * 70_000 + "2", None),
    ],
)  # fmt: skip
def test_causes_of_lines(left: str, right: str, causes: set[str] | None) -> None:
    """Each kind, several at once, and what is a difference of another kind."""
    wanted = None if causes is None else frozenset(causes)
    assert causes_of(left, right) == wanted
    assert causes_of(right, left) == wanted


def test_known_machines_are_names_of_hosts() -> None:
    """A word that is the name of a machine which wrote one of the files, whatever stands before it."""
    assert causes_of("by alpha at end", "by beta at end") is None
    assert causes_of("by alpha at end", "by beta at end", ["alpha", "beta"]) == frozenset({"hosts"})


@pytest.mark.parametrize("line", ["a-" * 8_000, "/a" * 8_000, "time" * 4_000, "1" * 16_000, "1:" * 8_000, "Mon " * 4_000])
def test_no_line_takes_long(line: str) -> None:
    """Every expression is bounded: a line that would make it go back and forth is done with, too."""
    assert causes_of(f"{line}x", f"{line}y") is None


@pytest.mark.parametrize(
    ("name", "left", "right", "causes"),
    [
        ("a.txt", b"# 2026-11-01\n1.5\n", b"# 2026-11-02\n1.5\n", ["dates"]), ("a.txt", b"a\r\nb\r\n", b"a\nb\n", ["line_ends"]),
        ("a.txt", b"a 1\nb 2\n", b"b 2\na 1\n", ["order"]), ("a.txt", b"a 1\nb 2\n", b"a 1\nb 2", ["line_ends"]),
        ("a.txt", b"a 1.50\n", b"a 1.5\n", ["packing"]), ("a.txt", b"a   1.5\n", b"a 1.5\n", ["blanks"]), ("a.txt", b"a\nb\n", b"a\nb\nc\n", []),
        ("a.csv", b"t,x\n12:00:01,1\n", b"t,x\n12:00:02,1\n", ["dates"]), ("a.csv", b"x,y\n1,2\n3,4\n", b"x,y\n3,4\n1,2\n", ["order"]),
        ("a.csv", b"x,y\r\n1,2\r\n", b"x,y\n1,2\n", ["line_ends"]), ("a.csv", b"p,x\n/tmp/a/1,1\n", b"p,x\n/tmp/b/1,1\n", ["paths"]),
        ("a.json", b'{"host": "n1", "x": 1}', b'{"host": "n2", "x": 1}', ["hosts"]),
        ("a.json", b'{"a": 1, "b": 2}', b'{"b": 2, "a": 1}', ["packing"]), ("a.json", b'{"x": 1.5}', b'{"x": 1.25}', ["numbers"]),
        ("a.svg", b"<a date='2026-11-01'/>\n", b"<a date='2026-11-02'/>\n", ["dates"]),
        ("a.gz", gzip.compress(b"x\n", mtime=1), gzip.compress(b"x\n", mtime=2), ["packing"]),
        ("a.txt.gz", gzip.compress(b"at 12:00:01\n", mtime=1), gzip.compress(b"at 12:00:02\n", mtime=1), ["dates"]),
    ],
)  # fmt: skip
def test_causes_of_text(name: str, left: bytes, right: bytes, causes: list[str]) -> None:
    """Text, CSV, JSON, XML and what is packed."""
    assert compared(name, left, right)["figures"]["causes"] == causes


def test_causes_of_arrays_and_parts() -> None:
    """Of binary files the name of a part tells what its value is."""
    assert compared("a.npz", npz(x=[1.0, 2.0]), npz(x=[1.0, 2.5]))["figures"]["causes"] == ["numbers"]
    assert compared("a.npz", npz(n_threads=4, x=[1.5]), npz(n_threads=8, x=[1.5]))["figures"]["causes"] == ["threads"]
    for kind, causes in (("NetCDF 3", ["dates"]), ("a FITS image", ["packing"])):
        name, write = KINDS[kind]
        one, other = write(VALUES, "2026-11-01"), write(VALUES, "2026-11-02")
        assert compared(name, one, other)["figures"]["causes"] == causes
        assert compared(name, one, write(VALUES * 1.5, "2026-11-01"))["figures"]["causes"] == ["numbers"]


@pytest.mark.parametrize("comparator", [Comparator.EXACT, Comparator.ALLCLOSE, Comparator.SIGNIFICANT, Comparator.CONTENT])
def test_causes_are_told_under_every_rule(comparator: Comparator) -> None:
    """In words as well, whatever decides."""
    rule = CompareRule(comparator=comparator, digits=6, rtol=1e-6, atol=0.0)
    found = compared("a.txt", b"at 12:00:01 in /a/b/c\n1.5\n", b"at 12:00:02 in /a/b/d\n1.5\n", rule)
    assert found["figures"]["causes"] == ["dates", "paths"]
    assert "  only dates or times and paths differ" in list(lines(found))


def test_a_border_of_rounding_is_told() -> None:
    """Numbers that are close and are rounded apart; those that are far apart are none."""
    rule = CompareRule(comparator=Comparator.ROUND, digits=1)
    found = compared("a.txt", b"1.2499999 3.0 7.77777\n", b"1.2500001 4.0 7.77776\n", rule)
    assert (found["figures"]["numbers"], found["figures"]["beyond"], found["figures"]["border"]) == (3, 2, 1)
    said = list(lines(found))
    assert "  by more than the rule lets pass: 2" in said
    assert "  1 of 2 lie close together, with a border of rounding between: allclose has no borders" in said


def test_what_a_tolerance_lets_pass_is_not_counted() -> None:
    """Under allclose, how many of the numbers that differ are too far apart."""
    rule = CompareRule(comparator=Comparator.ALLCLOSE, rtol=0.01, atol=0.0)
    figures = compared("a.txt", b"1.0 2.0 3.0\n", b"1.001 2.5 3.0\n", rule)["figures"]
    assert (figures["values"], figures["numbers"], figures["beyond"], figures["border"]) == (3, 2, 1, 0)


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("line 3, word 2", {"line": 3, "word": 2}), ("line 7", {"line": 7}), ("row 3, column 2", {"row": 3, "column": 2}),
        ("byte 12 (line 2)", {"byte": 12, "line": 2}), (".runs[3].energy", {"key": ".runs[3].energy"}),
        ("element 17", {"index": [17]}), ("t2m, index (3, 4)", {"part": "t2m", "index": [3, 4]}), ("/:history", {"part": "/:history"}),
        ("HDU 1, pixel, index (0, 7)", {"part": "HDU 1, pixel", "hdu": 1, "index": [0, 7]}), ("HDU 0:DATE", {"part": "HDU 0:DATE", "hdu": 0}),
        ("bytes alone", {}),
    ],
)  # fmt: skip
def test_places_are_data(where: str, place: dict[str, object]) -> None:
    """Every kind of place that formats name."""
    assert place_of(where) == place
