"""Arrow files (IPC, Feather) and ORC: columns by name in their order, values row by row, by pyarrow.

Batches, stripes, packing and the metadata of whatever wrote it do not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.ipc

from nexapod_batch.compare.formats.foreign.arrays import Budget
from nexapod_batch.compare.formats.foreign.parquet import column_of
from nexapod_batch.compare.formats.named import is_ignored, part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.compare.formats.foreign.frames import Sent

__all__ = ["batches"]

_ORC = b"ORC"
_ROWS = 1 << 15


def batches(path: str, ignored: frozenset[str]) -> Iterator[Sent]:
    """Yield each column.

    Raises:
        ValueError: There is more in it than may be.

    """
    pa.set_cpu_count(1)
    with open(path, "rb") as file:
        is_orc = file.read(len(_ORC)) == _ORC
    names = _orc(path).schema.names if is_orc else _arrow(path).schema.names
    budget = Budget(Path(path).stat().st_size)
    for number, name in enumerate(names):
        if is_ignored(ignored, name):
            continue
        yield [part(name, column=number)]
        for batch in _of_orc(path, name) if is_orc else _of_arrow(path, number):
            batch.validate(full=True)  # offsets may lead anywhere
            budget.take(name, [batch.num_rows], 1)
            for begin in range(0, batch.num_rows, _ROWS):
                yield column_of(batch.column(0).slice(begin, _ROWS))


def _arrow(path: str, columns: Sequence[int] = ()) -> pa.ipc.RecordBatchFileReader:
    options = pa.ipc.IpcReadOptions(included_fields=list(columns), use_threads=False)
    return pa.ipc.open_file(pa.OSFile(path), options=options)


def _of_arrow(path: str, number: int) -> Iterator[pa.RecordBatch]:
    file = _arrow(path, [number])
    for at in range(file.num_record_batches):
        yield file.get_batch(at)


def _orc(path: str) -> pa.orc.ORCFile:
    import pyarrow.orc  # noqa: PLC0415 - not in every build

    return pyarrow.orc.ORCFile(path)


def _of_orc(path: str, name: str) -> Iterator[pa.RecordBatch]:
    file = _orc(path)
    for at in range(file.nstripes):
        yield cast("pa.RecordBatch", file.read_stripe(at, columns=[name]))
