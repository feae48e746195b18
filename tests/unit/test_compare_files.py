"""Whole files: equality up to rounding, and where two files differ, in every format."""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.compare.ports import Difference
from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNIFICANT = CompareRule(comparator=Comparator.SIGNIFICANT, digits=6)
ROUND = CompareRule(comparator=Comparator.ROUND, digits=2)
CLOSE = CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-6, atol=0.0)
NAMES = ("a.txt", "a.csv", "a.tsv", "a.json", "a.jsonl", "a.npy")


class Trickle(io.RawIOBase):
    """A stream that gives few bytes at a time and cannot seek."""

    def __init__(self, data: bytes, step: int) -> None:
        """Give at most `step` bytes a read."""
        self._data, self._at, self._step = data, 0, step

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next few bytes."""
        part = self._data[self._at : self._at + (self._step if size < 0 else min(size, self._step))]
        self._at += len(part)
        return part


def digest(data: bytes | str, name: str = "a.txt", rule: CompareRule = SIGNIFICANT) -> str | None:
    """Return the normalised digest of some content."""
    return normalized_digest(io.BytesIO(data if isinstance(data, bytes) else data.encode()), name, rule)


def differ(left: bytes | str, right: bytes | str, name: str, rule: CompareRule = SIGNIFICANT) -> Difference | None:
    """Return the first difference of two contents."""
    a, b = (io.BytesIO(one if isinstance(one, bytes) else one.encode()) for one in (left, right))
    return first_difference(a, b, name, rule)


def npy(values: Sequence[object] | np.ndarray, dtype: str | None = None, order: str = "C") -> bytes:
    """Return what numpy.save writes."""
    stream = io.BytesIO()
    np.save(stream, np.array(values, dtype=dtype, order=order))  # type: ignore[call-overload]
    return stream.getvalue()


EQUAL = [
    ("a.txt", "# t x\n1.0 2.00000000001\n", "# t x\r\n 1 2\n"),
    ("a.txt", "  1.0       2.0\n", "    1   2.00000\n"),
    ("a.txt", "  -0.00000   1.00000\n", "   0.00000   1.00000\n"),
    ("a.txt", "1 2\n3 4", "1 2\n3 4\n"),
    ("a.txt", "E=-1.2345678,", "E=-1.2345679,\n"),
    ("stdout", "[1.00000001 (2)]", "[ 1 (2.0) ]"),
    ("a.csv", 'x,y\n1.0,"a b"\n', "x,y\r\n 1.00000004 ,a b\r\n"),
    ("a.csv", "x;y\n1;2\n", "x;y\n1.0;2.0\n"),
    ("a.tsv", "1\t2,3\n", "1.0\t2,3\n"),
    ("a.json", '{"a": 1.00000001, "b": [1, {"d": 2, "c": 3}]}', '{"b":[1.0,{"c":3,"d":2}],"a":1}'),
    ("a.json", '{"\\u00e9": "x\\/"}', '{"é": "x/"}'),
    ("a.json", '{"a": NaN, "b": -Infinity}', '{"b": -Infinity, "a": NaN}'),
    ("a.jsonl", '{"a": 1}\n{"a": 2}\n', '{"a": 1.0}\n\n{"a": 2.0}'),
    ("a.npy", npy([1.0, 2.0]), npy([1.00000001, 2.0])),
    ("a.npy", npy([1.5, 2.0], "<f4"), npy([1.5, 2.0], ">f8")),
    ("a.dat", npy([1, 2], "i4"), npy([1, 2], "u8")),
    ("a.npy", npy(["a", "bc"]), npy(["a", "bc"], "U9")),
    ("a.npy", npy([1 + 2j]), npy([1.00000001 + 2j])),
]

DIFFERENT = [
    ("a.txt", "1 2\n3 4\n", "1 2 3\n4\n", "line 1, word 3", "(end of line)", "3"),
    ("a.txt", "a 1\n", "b 1\n", "line 1, word 1", "a", "b"),
    ("a.txt", "1\n\n2\n", "1\n\n3\n", "line 3, word 1", "2", "3"),
    ("a.txt", "1\n", "1\n2\n", "line 2, word 1", "(end of file)", "2"),
    ("a.txt", '"1.0"', '"1.00"', "line 1, word 1", '"1.0"', '"1.00"'),
    ("a.csv", "a,b\n1,2\n", "a,b\n1,3\n", "row 2, column 2", "2", "3"),
    ("a.csv", 'a b,c\n"x, y",z\n', 'a b,c\n"x,y",z\n', "row 2, column 1", '"x, y"', '"x,y"'),
    ("a.json", '{"runs": [1, {"e": 2}]}', '{"runs": [1, {"e": 3}]}', ".runs[1].e", "2", "3"),
    ("a.json", '{"a": "1.0"}', '{"a": "1.00"}', ".a", '"1.0"', '"1.00"'),
    ("a.json", "[1, 2]", "[1, 2, 3]", "[2]", "]", "3"),
    ("a.npy", npy([1.0, 2.0]), npy([1.0, 2.5]), "element, index (1)", "2.0", "2.5"),
    ("a.npy", npy([[1.0, 2.0]]), npy([[1.0], [2.0]]), "the beginning", "element, shape [1, 2]", "element, shape [2, 1]"),
]


@pytest.mark.parametrize(("name", "left", "right"), EQUAL)
def test_equal_up_to_rounding(name: str, left: bytes | str, right: bytes | str) -> None:
    """Files that say the same have the same digest and no difference."""
    assert digest(left, name) == digest(right, name)
    assert differ(left, right, name) is None


@pytest.mark.parametrize("case", DIFFERENT, ids=lambda case: f"{case[0]}-{case[3]}")
def test_first_difference(case: tuple[str, bytes | str, bytes | str, str, str, str]) -> None:
    """Files that differ have different digests, and the place and both sides are named."""
    name, left, right, where, a, b = case
    assert digest(left, name) != digest(right, name)
    assert Difference(name=name, where=where, left=a, right=b) == differ(left, right, name)
    assert Difference(name=name, where=where, left=a, right=b) == differ(left, right, name, CLOSE)


def test_documented_digest() -> None:
    """The digest can be made again by others from what the module says."""
    import hashlib

    text = b"nexapod-normalized:4 round 2 text\nx = 1.50 \n "
    assert hashlib.sha256(text).hexdigest() == digest("x=1.5", "log", ROUND)


@pytest.mark.parametrize("comparator", ["exact", "allclose"])
def test_no_digest_where_equality_is_not_by_rounding(comparator: str) -> None:
    """Exact has the raw digest, allclose has none."""
    assert digest("1", rule=CompareRule(comparator=Comparator(comparator))) is None


def test_exact_difference_names_the_byte() -> None:
    """Any file can be compared exactly, and the byte and the line are named."""
    found = differ(b"one\ntwo\nthree\n", b"one\ntwx\nthree\n", "a.bin", CompareRule())
    assert Difference(name="a.bin", where="byte 6 (line 2)", left="two", right="twx") == found
    assert differ(b"\0\1", b"\0\1", "a.bin", CompareRule()) is None
    longer = differ(b"a", b"ab", "a.bin", CompareRule())
    assert longer is not None
    assert longer.left == "(end of file)"


def test_shown_text_is_printable() -> None:
    """What a liar wrote into a file cannot reach the reader's terminal."""
    found = differ(b"x\x1b[2Jy\n", b"x" * 500, "a", CompareRule())
    assert found is not None
    assert found.left.isprintable()
    assert len(found.right) < 80


def test_allclose_tolerates_what_it_may() -> None:
    """Numbers within the tolerance are no difference; text is compared as text."""
    assert first_difference(io.BytesIO(b"x 1.0000001\n"), io.BytesIO(b"x 1.0\n"), "a", CLOSE) is None
    found = first_difference(io.BytesIO(npy([1.0, np.nan, 2.0])), io.BytesIO(npy([1.0, np.nan, 2.1])), "a.npy", CLOSE)
    assert found is not None
    assert found.where == "element, index (2)"


NO_TABLES = [
    ("a.txt", b"1 2\n\x00\x01", "line 2"),
    ("a.txt", b"x" * (3 << 20), "word of more than"),
    ("a.csv", b'1,2\n"3\n', "unexpected end of data"),
    ("a.csv", b'1,"2"3\n', "line 1"),
    ("a.json", b'{"a": 1,\n "a": 2}', 'line 2.*key "a" twice'),
    ("a.json", b"[1,\n2", "the end"),
    ("a.json", b"[1 2]", "a comma or the end"),
    ("a.json", b"1 2", "line 1"),
    ("a.json", b"", "the end"),
    ("a.json", b"[1,]", "line 1"),
    ("a.json", b'{"a":1,}', "a key"),
    ("a.json", b'["abc', "line 1"),
    ("a.json", b'"' + b"x" * (1 << 20), "line 1"),
    ("a.json", b'["\xff"]', "UTF-8"),
    ("a.json", b"[tru]", "line 1"),
    ("a.json", b"[" * 5000, "levels"),
    ("a.npy", b"1 2 3", "first bytes"),
    ("a.npy", npy([1.0, 2.0])[:-1], "the end after 1 of 2"),
    ("a.npy", npy([1.0, 2.0]) + b"x", "more bytes"),
    ("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 65535), "header of 65535"),
    ("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 6) + b"(((((\n", "header"),
    ("a.npy", npy([1.0]).replace(b"(1,)", b"(-1)"), "shape"),
    ("a.npy", npy([1.0]).replace(b"<f8", b"|O8"), "elements of type"),
]


@pytest.mark.parametrize(("name", "data", "message"), NO_TABLES)
def test_files_that_are_no_tables(name: str, data: bytes, message: str) -> None:
    """What cannot be read as its format is refused by name, place and reason, whoever asks."""
    with pytest.raises(CompareError, match=rf"(?s)not a table: {name}.*{message}"):
        digest(data, name)
    with pytest.raises(CompareError, match="not a table"):
        differ(data, data, name, CLOSE)


def test_memory_of_a_bomb() -> None:
    """A header that promises 2**47 elements costs nothing."""
    bomb = npy([1.0]).replace(b"(1,), }" + b" " * 14, b"(140737488355327,), }")
    with pytest.raises(CompareError, match="the end after 1 of 140737488355327"):
        digest(bomb, "a.npy")


TREE = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda child: st.lists(child, max_size=4) | st.dictionaries(st.text(max_size=3), child, max_size=4),
    max_leaves=20,
)


@given(TREE, st.booleans(), st.sampled_from([None, 1]))
def test_json_layout_does_not_count(tree: object, sort: bool, indent: int | None) -> None:
    """Layout, escapes and the order of keys leave the digest alone."""
    plain = digest(json.dumps(tree), "a.json")
    other = json.dumps(tree, sort_keys=sort, indent=indent, ensure_ascii=not sort)
    assert plain == digest(other, "a.json")
    assert differ(json.dumps(tree), other, "a.json", CLOSE) is None


@given(st.lists(st.lists(st.text("ab ,;\"'\n", max_size=4), min_size=1, max_size=4), max_size=5))
def test_csv_quoting_of_text_does_not_count(rows: list[list[object]]) -> None:
    """Quoting every cell or only those that need it is the same table."""
    import csv

    texts = []
    for quoting in (csv.QUOTE_ALL, csv.QUOTE_MINIMAL):
        stream = io.StringIO()
        csv.writer(stream, quoting=quoting).writerows([["a", "b"], *rows])
        texts.append(stream.getvalue())
    assert digest(texts[0], "a.csv") == digest(texts[1], "a.csv")


@given(st.lists(st.lists(st.text("ab1. ,\"'\n\t", max_size=4), min_size=1, max_size=4), max_size=5))
def test_csv_is_read_as_by_python(rows: list[list[str]]) -> None:
    """Rows, cells and quotes are those that Python's reader finds."""
    import csv

    from nexapod_batch.compare.formats.reading import Reading
    from nexapod_batch.compare.stream import Source

    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["x,"], *rows])
    batches = Reading(Source(io.BytesIO(stream.getvalue().encode()), "a.csv")).batches
    tokens = [token for batch in batches for token in batch]
    wanted = [json.dumps(cell).encode() if cell is not None else b"\n" for row in [["x,"], *rows] for cell in [*row, None]]
    assert [b'","', *wanted] == tokens


@given(
    st.lists(st.floats() | st.sampled_from(["x", "\n", "a=1,", "nan", "1.", "2e+5"]), max_size=30),
    st.integers(1, 9),
    st.sampled_from(["a.txt", "a.csv", "a.json"]),
)
def test_the_stream_may_trickle(words: list[object], step: int, name: str) -> None:
    """How many bytes a read returns never changes a digest."""
    text = json.dumps(words) if name == "a.json" else " ".join(map(str, words))
    trickled = normalized_digest(Trickle(text.encode(), step), name, SIGNIFICANT)  # type: ignore[arg-type]
    assert digest(text, name) == trickled


@given(st.binary(max_size=60), st.sampled_from(NAMES))
def test_no_content_gives_a_traceback(data: bytes, name: str) -> None:
    """Any bytes either have a digest and equal themselves, or are refused."""
    try:
        digest(data, name)
    except CompareError:
        return
    assert differ(data, data, name) is None


@given(st.text('{}[],:"\\ 01.eE+-truefalsn\n', max_size=30))
def test_json_reader_agrees_with_python(text: str) -> None:
    """What Python's parser refuses is refused; what it takes is taken, but for repeated keys."""
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(CompareError):
            digest(text, "a.json")
        return
    try:
        digest(text, "a.json")
    except CompareError as error:
        assert "twice" in str(error)  # noqa: PT017 - nothing else may be refused


def test_tokens_across_chunks() -> None:
    """Files of many chunks are read as if in one piece, numbers and strings at every border included."""
    for shift in range(3):
        numbers = " ".join(["12345.678901e+00"] * 20_000)
        text = "\n" * shift + numbers
        assert digest(text) == digest(text.replace("+00", "+000"))
        listed = "[" + " " * shift + numbers.replace(" ", ",") + ', "' + "y" * 600_000 + '"]'
        assert digest(listed.replace(" ", ""), "a.json") == digest(listed, "a.json")
        assert digest("{" + '"a":' + listed + "}", "a.json") == digest("{" + '"a": ' + listed + "}", "a.json")


@given(st.lists(st.floats(width=32) | st.floats(), min_size=1, max_size=20), st.sampled_from(["f4", "f8", "i8", "c16"]))
def test_npy_says_the_same_as_numpy(values: list[float], dtype: str) -> None:
    """The reader sees the elements that NumPy wrote."""
    from nexapod_batch.compare.formats.reading import Reading
    from nexapod_batch.compare.stream import Source

    with np.errstate(all="ignore"):
        array = np.nan_to_num(np.array(values), posinf=9.0, neginf=-9.0).clip(-1e9, 1e9).astype(dtype)
    flat = array.view("f8").tolist() if dtype == "c16" else array.tolist()
    batches = list(Reading(Source(io.BytesIO(npy(array)), "a.npy")).batches)
    assert flat == [token for batch in batches[1:] for token in batch]


def test_columns_count_in_lines_of_any_length() -> None:
    """An empty cell is seen behind more than a megabyte without a line end, wherever chunks end."""
    row = b"1.5  2.5   " * 150_000  # 1.6 MB, more than one read takes
    gap = row + b"3.5     4.5\n"
    whole = digest(gap)
    assert whole != digest(row + b"3.5  4.5   \n")
    for step in (99_991, 262_144):
        assert normalized_digest(Trickle(gap, step), "a.txt", SIGNIFICANT) == whole  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b" " * (9 << 20), b"x " + b" " * (9 << 20) + b"y"])
def test_a_gap_without_an_end_is_no_table(content: bytes) -> None:
    """Blanks without a word take no memory."""
    with pytest.raises(CompareError, match="word of more than"):
        digest(content)


@pytest.mark.parametrize(
    ("comparator", "digits", "left", "right", "agree"),
    [
        ("significant", 4, "20261129", "20261131", True),
        ("significant", 8, "20261129", "20261131", False),
        ("significant", 4, "00501", "501", False),
        ("significant", 3, "1" * 400, "1" * 399 + "2", False),
        ("round", 0, "7", "7.2", True),
        ("round", 0, "7", "8", False),
        ("allclose", None, "20261129", "20261131", True),
        ("allclose", None, "20261129", "20361131", False),
    ],
)
def test_whole_numbers_are_approximate_where_a_rule_says_so(
    comparator: str, digits: int | None, left: str, right: str, agree: bool
) -> None:
    """As the default they are exact; with `integers = "approximate"` they are numbers as others are."""
    tolerance = 1e-6 if digits is None else None
    rule = CompareRule(comparator=Comparator(comparator), digits=digits, rtol=tolerance)
    for name, form in (("a.txt", "x {}\n"), ("a.csv", "a,b\n1,{}\n"), ("a.json", "[{}]")):
        if name == "a.json" and left.startswith("0"):
            continue
        a, b = form.format(left), form.format(right)
        assert (differ(a, b, name, rule._replace(integers="approximate")) is None) is agree
        assert differ(a, b, name, rule) is not None or "." in right
        if digits is not None:
            assert digest(a, name, rule) != digest(a, name, rule._replace(integers="approximate"))


def test_characters_that_are_none_are_told_apart() -> None:
    """What is no Unicode in an array of texts is refused; a half of a pair is not the text that spells it."""
    half = np.array(["\ud800"]).view("u4").astype("<u4")
    assert digest(npy(np.array(["\\ud800"]))) != digest(npy(half.view("<U1")))
    bad = npy(np.array(["a"], "<U1")).replace(b"a\0\0\0", b"\xff\xff\xff\xff")
    with pytest.raises(CompareError, match="Unicode"):
        digest(bad, "a.npy")
