"""The suite of comparators on each line of the table, and that no line is left out."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np

from nexapod_batch.model.job import Comparator, CompareRule
from nexapod_batch.testing.comparators import ComparatorConformance


def npy(values: object) -> bytes:
    """Return what numpy.save writes."""
    stream = io.BytesIO()
    np.save(stream, np.array(values))
    return stream.getvalue()


class TestExact(ComparatorConformance):
    """Bytes alone count."""

    rule = CompareRule()
    agreeing = (("a.bin", b"\0\1", b"\0\1"),)
    differing = (("a.txt", b"1.0\n", b"1.00\n"), ("a.bin", b"a", b"ab"), ("a", b"one\ntwo\x1b\n", b"one\ntwx\n"))


class _Tables(ComparatorConformance):
    """What every comparator that knows numbers makes of tables."""

    agreeing = (
        ("a.txt", b"E = 1.00000000001\n", b"E = 1.0\n"),
        ("a.csv", b"x,y\n1.0,a b\n", b'x,y\r\n 1.00000000002 ,"a b"\n'),
        ("a.json", b'{"a": 1.0, "b": [2]}', b'{"b": [2.00000000001], "a": 1}'),
        ("a.npy", npy([1.0, 2.0]), npy([1.00000000001, 2.0])),
    )
    differing: tuple[tuple[str, bytes, bytes], ...] = (
        ("a.txt", b"E = 1.001\n", b"E = 1.0\n"),
        ("a.txt", b"1 2\n3\n", b"1 2 3\n"),
        ("a.csv", b"x,y\n1,\n", b"x,y\n,1\n"),
        ("a.json", b"[1, 2]", b"[1, 2, 3]"),
        ("a.npy", npy([1.0, 2.0]), npy([1.0, 2.5])),
        ("a.npy", npy([[1.0, 2.0]]), npy([[1.0], [2.0]])),
    )
    refused = (("a.json", b"[1,"), ("a.csv", b'1,"2"3\n'), ("a.npy", b"1 2"), ("a.txt", b"1\0"))


class TestRound(_Tables):
    """Decimal places."""

    rule = CompareRule(comparator=Comparator.ROUND, digits=6)


class TestRoundToWhole(_Tables):
    """No decimal place: numbers with a fraction become whole ones."""

    rule = CompareRule(comparator=Comparator.ROUND, digits=0)
    differing = (("a.txt", b"1.6\n", b"1.4\n"), ("a.json", json.dumps([20261129]).encode(), b"[20261131]"))


class TestSignificant(_Tables):
    """Significant digits."""

    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=8)


class TestContent(ComparatorConformance):
    """The values, to the last digit, and not how they are written."""

    rule = CompareRule(comparator=Comparator.CONTENT)
    agreeing = (
        ("a.txt", b"1.50 2\n", b"1.5 2.0"),
        ("a.csv", b"x\n1.0\n", b"x\r\n1e+0\r\n"),
        ("a.json", b'{"a": 1.0, "b": 2}', b'{"b": 2, "a": 1}'),
        ("a.npy", npy([1.0, 2.0]), npy([1, 2])),
    )
    differing = (
        ("a.txt", b"1.0000000000000002\n", b"1.0\n"),
        ("a.txt", b"0.12345678901234567891\n", b"0.12345678901234567892\n"),
        ("a.json", b"[1]", b'["1"]'),
        ("a.npy", npy([1.0]), npy([1.0000000000000002])),
    )
    refused = _Tables.refused


class TestExactButForLines(ComparatorConformance):
    """Bytes, without the lines that are ignored."""

    rule = CompareRule(ignore=("^# date", "/host/"))
    agreeing = (
        ("a.txt", b"# date: 1\nx 1\non host a\n", b"# date: 2\r\nx 1\n"),
        ("a", b"\0\n# date 1", b"\0\n# date"),
        ("a.csv", b"on host a\nx\n1\n", b"x\n1\n"),
    )
    differing = (("a.txt", b"# date: 1\nx 1\n", b"# date: 1\nx  1\n"), ("a.bin", b"a\n", b"ab\n"))


class TestNone(ComparatorConformance):
    """Nothing counts."""

    rule = CompareRule(comparator=Comparator.NONE)
    agreeing = (("a.txt", b"1", b"2"), ("a.json", b"{", b"\0"))
    differing = ()


class TestAllClose(_Tables):
    """Tolerances."""

    rule = CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-9, atol=0.0)


def test_every_comparator_is_tried() -> None:
    """A new line of the table needs its suite here."""
    suites = [one for one in globals().values() if isinstance(one, type) and hasattr(one, "rule")]
    assert {suite.rule.comparator for suite in suites} == set(Comparator)


def test_the_suites_need_no_test_runner() -> None:
    """Outsiders choose theirs: nothing that is shipped imports one."""
    code = "import sys, nexapod_batch.testing.comparators, nexapod_batch.testing.runtimes; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0
