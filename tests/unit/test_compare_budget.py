"""The time that comparing may take: bounded for every file, by processor time alone, and never short for an honest one."""

from __future__ import annotations

import io
import lzma

import pytest
from unit.test_compare_hostile import npy, zipped

from nexapod_batch.compare.budget import Budget, allowing, current, most_of, size_of, within
from nexapod_batch.compare.figures import measured
from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.compare.reporting import told
from nexapod_batch.compare.stream import Source
from nexapod_batch.errors import CompareTimeError
from nexapod_batch.model.job import Comparator, CompareRule
from nexapod_batch.wording.figures import figure_lines, lines

CONTENT = CompareRule(comparator=Comparator.CONTENT)
MIB = 1 << 20


def test_a_budget_grows_with_the_files() -> None:
    """A minute, two seconds a file and ten a MiB; one that is fixed does not."""
    budget, fixed = Budget(), Budget(60, grows=False)
    for one in (budget, fixed):
        one.allow(3 * MIB)
        one.came_out(5 * MIB)
    assert 96 < budget.left() <= 97
    assert 59 < fixed.left() <= 60


def test_what_is_packed_earns_ten_minutes_at_most() -> None:
    """A second for each MiB that comes out, however it is cut."""
    budget = Budget()
    for _ in range(5_000):
        budget.came_out(MIB // 2)
    assert 659 < budget.left() <= 660
    assert (most_of(10), most_of(1 << 30)) == (4 << 30, 1_000 << 30)


def test_a_budget_within_another_one_spends_of_both() -> None:
    """What a program took is charged to each; the first that is spent ends the comparing, and says what it had."""
    with within(Budget(50, grows=False)) as outer:
        inner = Budget()
        inner.charge(51)
        assert outer.left() < 0
        with pytest.raises(CompareTimeError, match=r"not compared: a\.csv: got more than 50 s"):
            inner.check("a.csv")
    assert current().left() > 1e9


def test_files_share_the_budget_that_is_open() -> None:
    """Each allows for itself; without one each comparison has its own."""
    with within(Budget()) as budget, allowing(io.BytesIO(bytes(MIB)), io.BytesIO()):
        assert current() is budget
        assert 73 < budget.left() <= 74
    with allowing(io.BytesIO(bytes(MIB))):
        assert 71 < current().left() <= 72


def test_the_size_of_a_stream_leaves_it_where_it_was() -> None:
    """Also of one that digests; of what cannot seek it is not known."""
    stream = io.BytesIO(bytes(100))
    stream.seek(7)
    assert (size_of(stream), stream.tell()) == (100, 7)
    assert size_of(object()) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.npy", "a.h5", "a.parquet", "a.sqlite", "a.png", "a.fits", "a.pdb", "a.xml", "a.txt.xz"])
def test_no_file_is_read_when_nothing_is_left(name: str) -> None:
    """The reason names the file, the bound and what to do, whatever is in it."""
    with within(Budget(-1, grows=False)), pytest.raises(CompareTimeError) as told:
        normalized_digest(io.BytesIO(b"1.5 2.5\n"), name, CONTENT)
    assert name in str(told.value)
    assert 'compare = "exact" or "none"' in str(told.value)


def packed(piece: bytes, times: int) -> bytes:
    """Return a piece many times, as xz."""
    compressor = lzma.LZMACompressor(preset=0)
    many = piece * (MIB // len(piece))
    return b"".join([*(compressor.compress(many) for _ in range(times)), compressor.flush()])


#: Small files of which much is to be read: name and content. Each is read to its end in minutes or hours.
BOMBS: dict[str, tuple[str, bytes]] = {
    "JSON, packed": ("a.jsonl.xz", packed(b'{"a":1.5}\n', 64)),
    "a table, packed": ("a.txt.xz", packed(b"1.5  a 2.5\n", 64)),
    "CSV, packed": ("a.csv.xz", packed(b'1.5,"a",2.5\n', 64)),
    "PDB, packed": ("a.pdb.xz", packed(b"ATOM      1  N   MET A   1      27.340  24.430   2.614\n", 64)),
    "arrays of text": ("a.npz", zipped(a__npy=npy("'|S1'", f"({64 * MIB},)", bytes(64 * MIB)))),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_within_its_budget(bomb: str) -> None:
    """However small it is: in the midst of it, with the reason."""
    name, data = BOMBS[bomb]
    with within(Budget(0.3, grows=False)), pytest.raises(CompareTimeError, match=r"more than 0 s of processor time"):
        normalized_digest(io.BytesIO(data), name, CONTENT)


def test_a_library_that_does_not_come_back_is_ended_and_charged() -> None:
    """HDF5 of two gigabytes of values that were never written: its process has the time that is left, no more."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("x", (1 << 28,), "f8", chunks=(64,), compression="gzip")
    with within(Budget(1.0, grows=False)) as budget, pytest.raises(CompareTimeError):
        normalized_digest(io.BytesIO(stream.getvalue()), "a.h5", CONTENT)
    assert budget.left() < 0


def test_figures_of_large_files_say_how_far_they_came() -> None:
    """Where the time is over before the files; what was measured until then is there."""
    left, right = (b"1.5 2.5\n" + first + b" 2.0\n" * 1_500_000 for first in (b"1.0", b"1.1"))
    with within(Budget(0.5, grows=False)):
        found = measured(Source(io.BytesIO(left), "a.txt", CONTENT), Source(io.BytesIO(right), "a.txt", CONTENT))
    assert found.through.startswith("line ")
    assert 0 < found.values < 1_500_000
    assert found.numbers == 1


def test_what_takes_too_long_to_tell_is_said_in_words() -> None:
    """For people: how far it came, and nothing of a rule that nobody looked for."""
    document = {"figures": {"through": "line 7, word 2", "numbers": 0, "values": 12, "texts": 0, "beyond": 0, "border": 0,
        "causes": [], "absolute": None, "relative": None, "decades": {}, "first": [], "shape": ""}}  # fmt: skip
    said = list(figure_lines(document))
    assert said == ["  measured up to line 7, word 2: the files are too large for more", "  0 of 12 numbers differ"]
    with within(Budget(-1, grows=False)):
        found = told(lambda: io.BytesIO(b"1\n"), lambda: io.BytesIO(b"2\n"), "a.txt", CONTENT)
    assert "more than -1 s of processor time" in next(lines(found))


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
@pytest.mark.parametrize("at", [0, 70_000, 149_999])
def test_the_first_difference_is_found_behind_lines_that_are_the_same(name: str, at: int) -> None:
    """With its place, however many blocks of lines were passed unread."""
    rows = [b"%d,1.5,x" % number for number in range(150_000)]
    other = [*rows[:at], b"%d,1.5,y" % at, *rows[at + 1 :]]
    difference = first_difference(io.BytesIO(b"\n".join(rows)), io.BytesIO(b"\n".join(other)), name, CONTENT)
    assert difference is not None
    assert difference.where.startswith(f"{'row' if name == 'a.csv' else 'line'} {at + 1}, ")
    assert (difference.left.strip('"'), difference.right.strip('"')) == ("x", "y")
