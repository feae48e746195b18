"""HDF5, and NetCDF 4 which is HDF5: groups, attributes and datasets by name, in sorted order, by h5py.

Storage order, chunks, compression and times of creation do not count. Links to elsewhere are compared as links and
never followed; data that lie in other files are refused. Of NetCDF, what names the library that wrote it does not
count.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from nexapod_batch.compare.formats.foreign.arrays import Budget, blocks, code_of, fields_of, parts_of
from nexapod_batch.compare.formats.foreign.frames import Stored, Unread
from nexapod_batch.compare.formats.foreign.lending import SLOT
from nexapod_batch.compare.formats.named import is_ignored, part, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.formats.foreign.frames import Sent

__all__ = ["batches"]

_MOST_OBJECTS = 1_000_000
#: Attributes by which NetCDF 4 keeps its own books.
_BOOKKEEPING = frozenset({"_NCProperties", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"})


def batches(path: str, ignored: frozenset[str]) -> Iterator[Sent]:
    """Yield everything that has a name.

    Raises:
        ValueError: Data lie in other files, or there is too much of something.

    """
    budget = Budget(Path(path).stat().st_size)
    with h5py.File(path, "r") as file:
        yield from _attributes("", file, ignored)
        waiting: list[tuple[str, h5py.Group]] = [("", file)]
        seen: dict[object, str] = {_address(file): "/"}
        while waiting:
            name, group = waiting.pop()
            for key in sorted(group, reverse=True):
                inner = f"{name}/{key}"
                if is_ignored(ignored, key, inner):
                    continue
                link = group.get(key, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    yield [part(inner), text(f"link {_target(link)}")]
                    continue
                found = group[key]
                known = seen.setdefault(_address(found), inner)
                if len(seen) > _MOST_OBJECTS:
                    raise ValueError(f"more than {_MOST_OBJECTS} objects")
                if known != inner:
                    yield [part(inner), text(f"the same as {known}")]
                elif isinstance(found, h5py.Group):
                    yield from _group(inner, found, ignored)
                    waiting.append((inner, found))
                elif isinstance(found, h5py.Dataset):
                    yield from _attributes(inner, found, ignored)
                    budget.take(inner, found.shape or (), found.dtype.itemsize)
                    yield from _dataset(inner, found)


def _group(name: str, group: h5py.Group, ignored: frozenset[str]) -> Iterator[Sent]:
    yield [part(name), text("group")]
    yield from _attributes(name, group, ignored)


def _address(found: h5py.HLObject) -> object:
    info = h5py.h5o.get_info(found.id)
    return info.fileno, info.addr


def _target(link: h5py.SoftLink | h5py.ExternalLink) -> str:
    return f"{getattr(link, 'filename', '')}:{link.path}"


def _attributes(name: str, owner: h5py.HLObject, ignored: frozenset[str]) -> Iterator[Sent]:
    for key in sorted(owner.attrs):
        short = name.rpartition("/")[2]
        if is_ignored(ignored | _BOOKKEEPING, key, f"{name}:{key}", f"{short}:{key}"):
            continue
        value = owner.attrs[key]
        if isinstance(value, h5py.Empty):
            yield [part(f"{name}:{key}"), text("empty")]
            continue
        values = np.asarray(value)
        yield [part(f"{name}:{key}", values.shape)]
        yield from parts_of(f"{name}:{key}", values)


def _dataset(name: str, dataset: h5py.Dataset) -> Iterator[Sent]:
    """Yield a dataset block by block; where they end does not show."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} lies in other files")
    if dataset.shape is None:
        yield [part(name), text("empty")]
        return
    yield [part(name, dataset.shape)]
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        return  # addresses in this very file
    if not fields_of(dataset.dtype):
        code = code_of(dataset.dtype) if dataset.shape and dataset.nbytes else None
        if code is not None and (begin := _place(dataset)) is not None:
            yield Stored(code, begin, dataset.nbytes)
            return
        for block in blocks(dataset, dataset.chunks, SLOT // 2 if dataset.chunks else SLOT):
            unread = None if code is None else _unread(dataset, block, code)
            if unread is not None and unread.size <= SLOT:
                yield unread
            else:
                yield from parts_of(name, np.asarray(dataset[block]))
        return
    for field in fields_of(dataset.dtype):
        yield [part(f"{name}.{field}", dataset.shape)]
        for block in blocks(dataset, dataset.chunks):
            yield from parts_of(f"{name}.{field}", np.asarray(dataset[block][field]))


def _place(dataset: h5py.Dataset) -> int | None:
    """Return where in the file the numbers of a dataset begin, if they lie there as they are read."""
    found = dataset.id
    if found.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS or found.get_storage_size() != dataset.nbytes:
        return None  # chunks, values among what describes them, or values that were never written
    return found.get_offset() if found.get_type().equal(h5py.h5t.py_create(dataset.dtype)) else None


def _unread(dataset: h5py.Dataset, block: tuple[slice | int, ...], code: str) -> Unread:
    """Return the numbers of a block, which are read where they are wanted."""
    begin = [each.start if isinstance(each, slice) else each for each in block]
    count = [each.stop - each.start if isinstance(each, slice) else 1 for each in block]
    begin += [0] * (len(dataset.shape) - len(begin))
    count += dataset.shape[len(count) :]

    def read(slot: memoryview[Any]) -> None:
        space = dataset.id.get_space()
        space.select_hyperslab(tuple(begin), tuple(count))
        dataset.id.read(h5py.h5s.create_simple(tuple(count)), space, np.frombuffer(slot, dataset.dtype).reshape(count))

    return Unread(code, prod(count) * dataset.dtype.itemsize, read)
