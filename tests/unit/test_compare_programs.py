"""Files that only a library can read: one program for each kind, a process for each file, and none of them afterwards."""

from __future__ import annotations

import io
import os
import select
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from kinds import KINDS, VALUES

from nexapod_batch.compare.formats.foreign.asking import Bounds
from nexapod_batch.compare.formats.foreign.programs import kept, read_by
from nexapod_batch.compare.registry import first_difference
from nexapod_batch.compare.stream import Source
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Iterator

#: kinds of files -> the program that reads them
KIND = {"HDF5": "hdf5", "NetCDF 4": "hdf5", "Parquet": "parquet", "an image (PNG, TIFF)": "image"}


def children(process: str = "thread-self") -> set[int]:
    """Return the children that this thread started, or those of a process of one thread."""
    where = process if process == "thread-self" else f"{process}/task/{process}"
    return {int(child) for child in Path(f"/proc/{where}/children").read_text(encoding="ascii").split()}


def file_of(kind: str) -> IO[bytes]:
    """Return a file of a kind, to be read by a program."""
    return Source(io.BytesIO(KINDS[kind][1](VALUES, "2026-11-01")), KINDS[kind][0]).file()


@contextmanager
def reading(kind: str = "HDF5") -> Iterator[IO[bytes]]:
    """Give what a program sends of a file of a kind, behind the number of the process that reads it."""
    with file_of(kind) as file, read_by(KIND[kind], "batches", (), file, Bounds(60, 1 << 20)) as (stream, _):
        stream.read(int.from_bytes(stream.read(4), "big"))
        yield stream


@pytest.mark.parametrize("kind", KIND)
def test_two_files_have_one_program_and_a_process_each(kind: str) -> None:
    """Both say the same; the program is gone with the last of them, and has waited for its processes."""
    before = children()
    with reading(kind) as left:
        with reading(kind) as right:
            contents = left.read(), right.read()
            (program,) = children() - before
            readers = children(str(program))
            assert len(readers) == 2
        assert children() - before == {program}
    assert children() == before
    assert [Path(f"/proc/{process}").exists() for process in (program, *readers)] == [False, False, False]
    assert contents[0] == contents[1] != b""


def test_a_process_that_dies_takes_no_other_file_along() -> None:
    """A file that breaks its library is one that cannot be read; others are read to their ends by the same program."""
    before = children()
    with reading() as left:
        whole = left.read()
        (program,) = children() - before
        for reader in children(str(program)):
            os.kill(reader, signal.SIGKILL)
        with reading() as right:
            assert right.read() == whole
            assert children() - before == {program}


def test_a_program_that_dies_is_a_file_that_cannot_be_read() -> None:
    """Files that are begun beside it have nothing to say; the next one has another program."""
    before = children()
    with reading() as left:
        whole = left.read()
        (program,) = children() - before
        os.kill(program, signal.SIGKILL)
        os.waitid(os.P_PID, program, os.WEXITED | os.WNOWAIT)
        with reading() as right:
            assert right.read() == b""
    with reading() as again:
        assert again.read() == whole


def test_a_program_ends_with_whoever_compares() -> None:
    """Also with one that is killed while files are read."""
    mine, theirs = os.pipe()
    process = os.fork()
    if not process:
        with suppress(BaseException), reading() as stream:
            stream.read()
            (program,) = children()
            os.write(theirs, b"%d\n" % program)
            signal.pause()
        os._exit(1)
    os.close(theirs)
    with open(mine, "rb") as told:
        program = os.pidfd_open(int(told.readline()))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    ended, _, _ = select.select([program], [], [], 120)
    os.close(program)
    assert ended == [program]


def test_a_process_that_was_forked_meanwhile_has_a_program_of_its_own() -> None:
    """And ends no other's."""
    with reading() as left:
        whole = left.read()
        process = os.fork()
        if not process:
            status = 1
            with suppress(BaseException), reading() as stream:
                status = int(stream.read() != whole)
            os._exit(status)
        assert os.waitpid(process, 0)[1] == 0
        with reading() as right:
            assert right.read() == whole


def test_a_program_that_is_kept_reads_one_file_after_the_other() -> None:
    """Each by another process, until nobody keeps it any more; where it ends meanwhile, the next file has another one."""
    before = children()
    with reading() as stream:
        whole = stream.read()
    with kept():
        with kept(), reading() as stream:
            assert stream.read() == whole
            (program,) = children() - before
        for _ in range(3):
            with reading() as stream:
                assert stream.read() == whole
            assert children() - before == {program}
        os.kill(program, signal.SIGKILL)
        os.waitid(os.P_PID, program, os.WEXITED | os.WNOWAIT)
        with reading() as stream:
            assert stream.read() == whole
        (other,) = children() - before
        assert other != program
    assert children() == before


def test_what_is_kept_is_no_other_process_s() -> None:
    """One that is forked meanwhile has its own programs, and ends none at its end."""
    before = children()
    with kept():
        with reading() as stream:
            whole = stream.read()
        process = os.fork()
        if not process:
            status = 1
            with suppress(BaseException):
                with reading() as stream:
                    status = int(stream.read() != whole)
                status += bool(children())
            os._exit(status)
        assert os.waitpid(process, 0)[1] == 0
        with reading() as stream:
            assert stream.read() == whole
    assert children() == before


@pytest.mark.parametrize("length", [10, 100_000, 1_000_000])
def test_what_is_ignored_may_be_long(length: int) -> None:
    """Names of parts come to the program whatever their size."""
    name, write = KINDS["HDF5"]
    rule = CompareRule(comparator=Comparator.CONTENT, ignore=tuple(f"{number:0{length // 10}}" for number in range(10)))
    data = write(VALUES, "2026-11-01")
    assert first_difference(io.BytesIO(data), io.BytesIO(data), name, rule) is None


def test_a_damaged_file_is_refused_whichever_side_it_is_on() -> None:
    """The other one is whole, and read beside it."""
    name, write = KINDS["HDF5"]
    whole = write(VALUES, "2026-11-01")
    cut = whole[: len(whole) // 3]
    rule = CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-9, atol=0.0)
    for left, right in ((whole, cut), (cut, whole)):
        with pytest.raises(CompareError):
            first_difference(io.BytesIO(left), io.BytesIO(right), name, rule)
    assert first_difference(io.BytesIO(whole), io.BytesIO(whole), name, rule) is None
