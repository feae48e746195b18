"""Parquet: columns by name in their order, values row by row, by pyarrow.

Row groups, compression, encodings and the metadata of whatever wrote it do not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nexapod_batch.compare.formats.foreign.arrays import Budget, numbers
from nexapod_batch.compare.formats.named import is_ignored, part, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.formats.foreign.frames import Sent
    from nexapod_batch.compare.numbers import Token

__all__ = ["batches", "column_of", "rows"]

_ROWS = 1 << 15
_LONGEST_FOOTER = 64 << 20


def batches(path: str, ignored: frozenset[str]) -> Iterator[Sent]:
    """Yield each column.

    Raises:
        ValueError: There is more in it than may be, or less than it says.

    """
    file = _opened(path)
    for number, field in enumerate(file.schema_arrow):
        if is_ignored(ignored, field.name):
            continue
        yield [part(field.name, [file.metadata.num_rows], column=number)]
        left = file.metadata.num_rows
        for batch in file.iter_batches(batch_size=_ROWS, columns=[field.name], use_threads=False):
            left -= batch.num_rows
            yield column_of(batch.column(0))
        if left:
            raise ValueError(f"{field.name} has {left} rows less than the file says")


def rows(path: str, ignored: frozenset[str]) -> Iterator[Sent]:
    """Yield each row, its values in the order of the columns, with a line end behind it."""
    file = _opened(path)
    names = [field.name for field in file.schema_arrow if not is_ignored(ignored, field.name)]
    yield [part("rows", columns=names)]
    for batch in file.iter_batches(batch_size=_ROWS, columns=names, use_threads=False):
        tokens: list[Token] = []
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            tokens += map(_token, row)
            tokens.append(b"\n")
        yield tokens


def _opened(path: str) -> pq.ParquetFile:
    pa.set_cpu_count(1)
    file = pq.ParquetFile(
        path, thrift_string_size_limit=_LONGEST_FOOTER, thrift_container_size_limit=1 << 20, memory_map=False,
        page_checksum_verification=False,
    )  # fmt: skip
    Budget(Path(path).stat().st_size).take("rows", [file.metadata.num_rows, max(1, file.metadata.num_columns)], 1)
    return file


def column_of(values: pa.Array) -> Sent:
    """Return the values of a column."""
    if values.null_count == 0 and (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        found = numbers(values.to_numpy(zero_copy_only=False))
        if found is not None:
            return found
    return [_token(value) for value in values.to_pylist()]


def _token(value: object) -> Token:
    if value is None:
        return b"null"
    if isinstance(value, bool | int | float) and not (isinstance(value, int) and value.bit_length() > 63):
        return value
    return text(str(value))
