"""What `ignore` leaves out of each format, and that nothing else is left out with it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma

import pytest

from nexapod_batch.compare.ignoring import fault_of
from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule


def rule(*ignore: str, comparator: Comparator = Comparator.CONTENT) -> CompareRule:
    """Return a rule that ignores something."""
    return CompareRule(comparator=comparator, ignore=ignore)


def agree(name: str, left: bytes, right: bytes, by: CompareRule) -> bool:
    """Say whether two files agree; what is signed and what is shown say the same."""
    found = first_difference(io.BytesIO(left), io.BytesIO(right), name, by)
    digests = {normalized_digest(io.BytesIO(data), name, by) for data in (left, right)}
    assert (len(digests) == 1) is (found is None)
    return found is None


#: name of the file, what is ignored, a version, one that agrees with it, one that does not
CASES: dict[str, tuple[str, tuple[str, ...], bytes, bytes, bytes]] = {
    "lines of text": ("a.log", ("^time",), b"time 1\nE 2\n", b"time 7\nE 2\n", b"time 1\nE 3\n"),
    "in slashes": ("a.log", ("/^time/",), b"time 1\nE 2\n", b"time 7\nE 2\n", b"time 1\nE 3\n"),
    "other numbers of lines": ("a", ("^#",), b"E 2\n# 1\n", b"# 1\n# 2\nE 2\n", b"# 1\nE 2\nE 2\n"),
    "the last line, unended": ("a", ("^#",), b"E 2\n# 1", b"E 2\n", b"E 2 # 1"),
    "carriage returns": ("a", ("1$",), b"x 1\r\nE 2\r\n", b"E 2\n", b"E 3\r\n"),
    "lines of CSV": ("a.csv", ("/^#/",), b"# 9\nx,y\n1,2\n", b"x,y\n1,2\n", b"x,y\n1,3\n"),
    "a column": ("a.csv", ("y",), b"x,y,z\n1,2,3\n", b"x,y,z\n1,9,3\n", b"x,y,z\n1,2,4\n"),
    "a quoted column": ("a.csv", ("wall time",), b'x,"wall time"\n1,2\n', b'x,"wall time"\n1,3\n', b'x,"wall time"\n2,2\n'),
    "a column of a semicolon table": ("a.csv", ("t",), b"t;x\n1;2\n", b"t;x\n5;2\n", b"t;x\n1;3\n"),
    "behind a byte order mark": ("a.csv", ("t",), b"\xef\xbb\xbft,x\n1,2\n", b"\xef\xbb\xbft,x\n5,2\n", b"\xef\xbb\xbft,x\n1,3\n"),
    "a value of JSON": ("a.json", (".meta.date",), b'{"meta": {"date": 1, "n": 2}}', b'{"meta": {"n": 2, "date": [{}]}}', b'{"meta": {"date": 1, "n": 3}}'),
    "not the same key elsewhere": ("a.json", (".date",), b'{"date": 1, "b": {"date": 1}}', b'{"date": 2, "b": {"date": 1}}', b'{"date": 1, "b": {"date": 2}}'),
    "a key at any depth": ("a.json", ("..date",), b'[{"date": 1, "b": {"date": 1, "c": 1}}]', b'[{"date": 2, "b": {"date": 2, "c": 1}}]', b'[{"date": 1, "b": {"date": 1, "c": 2}}]'),
    "in elements": ("a.json", (".runs[*].t",), b'{"runs": [{"t": 1, "E": 1}, {"t": 2, "E": 1}]}', b'{"runs": [{"t": 3, "E": 1}, {"E": 1}]}', b'{"runs": [{"t": 1, "E": 2}, {"t": 2, "E": 1}]}'),
    "a quoted key": ("a.json", ('."a.b"',), b'{"a.b": 1, "a": {"b": 1}}', b'{"a.b": 2, "a": {"b": 1}}', b'{"a.b": 1, "a": {"b": 2}}'),
    "JSON lines": ("a.jsonl", (".t",), b'{"t": 1, "E": 1}\n{"t": 1, "E": 2}\n', b'{"t": 5, "E": 1}\n{"t": 6, "E": 2}\n', b'{"t": 1, "E": 2}\n{"t": 1, "E": 1}\n'),
    "packed text": ("a.log.gz", ("^time",), gzip.compress(b"time 1\nE 2\n"), gzip.compress(b"time 7\nE 2\n", mtime=1), gzip.compress(b"time 1\nE 3\n")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_ignored_does_not_count(case: str) -> None:
    """And what stands beside it does."""
    name, ignore, one, same, other = CASES[case]
    assert agree(name, one, same, rule(*ignore))
    assert not agree(name, one, other, rule(*ignore))
    assert not agree(name, one, same, rule("^no such line", ".none", "none"))


@pytest.mark.parametrize("case", CASES)
def test_exact_bytes_of_the_rest(case: str) -> None:
    """The same files under `exact` with `ignore`."""
    name, ignore, one, _, other = CASES[case]
    by = rule(*ignore, comparator=Comparator.EXACT)
    assert agree(name, one, one, by)
    assert not agree(name, one, other, by)


def test_a_binary_file_keeps_its_bytes() -> None:
    """Lines of a PDF are left out; others count to the last bit."""
    by = rule("/CreationDate", comparator=Comparator.EXACT)
    assert agree("a.pdf", b"%PDF\n\xff\0\n/CreationDate (1)\n", b"%PDF\n\xff\0\n/CreationDate (2)\n", by)
    assert not agree("a.pdf", b"%PDF\n\xff\0\n", b"%PDF\n\xff\1\n", by)


def test_a_line_without_an_end_is_read_in_pieces() -> None:
    """It is not left out, and the lines behind it are as if it were short."""
    long = b"x" * (3 << 20)
    by = rule("^#", comparator=Comparator.EXACT)
    assert agree("a", long + b"\n# 1\nE\n", long + b"\n# 2\nE\n", by)
    assert not agree("a", long + b"\nE\n", long + b"x\nE\n", by)


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "a*a*a*a*a*b", "(x+x+)+y"])
def test_expressions_that_explode_do_not(pattern: str) -> None:
    """A line of a megabyte that drives back-tracking wild is matched, and the test ends."""
    line = (b"a" if "a" in pattern else b"x") * (1 << 20)
    assert agree("a", line + b"\n1\n", line + b"\n1\n", rule(pattern, comparator=Comparator.EXACT))


@pytest.mark.parametrize(
    ("entry", "suffix", "good"),
    [
        ("^# date", "txt", True), ("(", "txt", False), (r"(a)\1", "log", False), ("/(/", "csv", False), ("(", "csv", True),
        (".a.b", "json", True), ("a.b", "json", False), (".a[3]", "json", False), (".a[*].b", "json", True), ("/x/", "json", True),
        ("history", "nc", True), ("..t", "jsonl", True), (".", "json", False),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_told(entry: str, suffix: str, good: bool) -> None:
    """Before anything runs."""
    assert (fault_of(entry, suffix) is None) is good


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_what_is_in_them(pack: object) -> None:
    """Whatever packed them, with whatever date; several in a row are one."""
    assert callable(pack)
    name, by = "a.csv.gz", CompareRule(comparator=Comparator.SIGNIFICANT, digits=6)
    assert agree(name, pack(b"x,y\n1.5,2\n"), pack(b"x,y\n1.50,") + pack(b"2\n"), by)
    assert not agree(name, pack(b"x,y\n1.5,2\n"), pack(b"x,y\n1.6,2\n"), by)
    assert agree(name, pack(b"x,y\n1.5,2\n"), b"x,y\n1.5,2\n", by)


BROKEN = {
    "cut gzip": gzip.compress(b"1 2\n" * 99)[:-9],
    "cut bzip2": bz2.compress(b"1 2\n" * 99)[:-9],
    "cut xz": lzma.compress(b"1 2\n" * 99)[:-9],
    "more behind it": gzip.compress(b"1\n") + b"rest",
    "a header of gzip": b"\x1f\x8b\x08\x00",
    "a header of bzip2": b"BZh9",
    "packed twice": gzip.compress(gzip.compress(b"1\n")),
    "another checksum": gzip.compress(b"1\n")[:-4] + b"xxxx",
    "cut zstd": b"\x28\xb5\x2f\xfd\x00\x01",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_unpacked_is_refused(broken: bytes) -> None:
    """Cut, damaged, or packed twice."""
    with pytest.raises(CompareError):
        normalized_digest(io.BytesIO(broken), "a.txt.gz", rule())


def test_zstd() -> None:
    """With the package that reads it."""
    import zstandard

    packed = [zstandard.ZstdCompressor(level=level).compress(b"x 1.5\n") for level in (1, 19)]
    assert agree("a.txt.zst", packed[0], packed[1], rule())
    assert not agree("a.txt.zst", packed[0], zstandard.ZstdCompressor().compress(b"x 1.6\n"), rule())
