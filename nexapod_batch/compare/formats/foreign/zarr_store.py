"""Zarr, versions 2 and 3, a folder or a ZIP file: groups, attributes and arrays by name, in sorted order, by zarr.

Chunks, shards, their codecs and fill values, consolidated metadata, and who packed the folder do not count. Metadata
are checked before zarr sees them: a codec may be any code that somebody installed, and one of numcodecs' runs what it
reads. Files of a folder are asked for one by one; each must be of a node, so that nothing in it is left unread.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import msgspec
import numpy as np
import zarr
import zarr.storage
from zarr.core.buffer import Buffer, default_buffer_prototype

from nexapod_batch.compare.formats.foreign.arrays import Budget, blocks, fields_of, parts_of
from nexapod_batch.compare.formats.foreign.frames import answered, send
from nexapod_batch.compare.formats.named import is_ignored, part, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from zarr.abc.store import Store

    from nexapod_batch.compare.formats.foreign.frames import Sent
    from nexapod_batch.compare.numbers import Token

__all__ = ["batches", "folder"]

_MOST_MEMBERS = 2_000_000
_LONGEST_MEMBER, _LONGEST_METADATA = 256 << 20, 16 << 20
_MOST_CHUNKS = 1_000_000
_DEPTH = 50
#: What codecs may do: pack, and put bytes and numbers in another order. In version 3 as zarr names them.
_CODECS = frozenset({
    "adler32", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "fixedscaleoffset", "fletcher32",
    "gzip", "lz4", "lzma", "packbits", "quantize", "sharding_indexed", "shuffle", "transpose", "vlen-bytes",
    "vlen-utf8", "zlib", "zstd",
})  # fmt: skip
#: The file that describes a node -> version of the format.
_DESCRIBED = {"zarr.json": 3, ".zarray": 2, ".zgroup": 2}
_METADATA = frozenset({*_DESCRIBED, ".zattrs", ".zmetadata"})


class _Files(Protocol):
    """The files of a store."""

    def names(self) -> Iterable[str]:
        """Return their names; ValueError where there are too many, or too large ones."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return one that describes something, None where there is none; ValueError where it is too long."""
        ...


def batches(path: str, ignored: frozenset[str]) -> Iterator[Sent]:
    """Yield every node of a store in a ZIP file.

    Raises:
        ValueError: It is no Zarr, or may not be read.

    """
    with zipfile.ZipFile(path) as archive:
        described = _nodes(_Zipped(archive))
    store = zarr.storage.ZipStore(path, mode="r")  # it ends with this process
    yield from _all(store, described, Budget(Path(path).stat().st_size), ignored)


def folder(path: str, ignored: frozenset[str]) -> Iterator[Sent]:
    """Yield every node of a store in a folder, whose files come through a pipe.

    Raises:
        ValueError: It is no Zarr, or may not be read.

    """
    with open(path, "rb") as answers:
        files = _Asked(answers, sys.stdout.buffer)
        described = _nodes(files)
        _check_chunks(files.names(), described)
        store = zarr.storage.MemoryStore(files, read_only=True)
        yield from _all(store, described, Budget(files.size), ignored)


class _Zipped:
    """Those in a ZIP file."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def names(self) -> Iterable[str]:
        members = self._archive.infolist()
        if len(members) > _MOST_MEMBERS or len(self._archive.NameToInfo) != len(members):
            raise ValueError(f"more than {_MOST_MEMBERS} members, or one twice")
        if any(member.file_size > _LONGEST_MEMBER for member in members):
            raise ValueError(f"a member of more than {_LONGEST_MEMBER} bytes")
        return self._archive.NameToInfo

    def read(self, name: str) -> bytes | None:
        member = self._archive.NameToInfo.get(name)
        if member is None:
            return None
        if member.file_size > _LONGEST_METADATA:
            raise ValueError(f"metadata of more than {_LONGEST_METADATA} bytes")
        return self._archive.read(member)


class _Asked(dict[str, Buffer]):
    """Those that another process has. What describes nodes is kept, so that zarr reads what was checked."""

    def __init__(self, answers: BinaryIO, out: BinaryIO) -> None:
        super().__init__()
        self._answers, self._out = answers, out
        self._described: dict[str, bytes] = {}
        self._last: tuple[str, bytes] = "", b""  # a shard is read part by part
        self.size, self._names = msgspec.msgpack.decode(self._want("") or b"", type=tuple[int, list[str]])
        self._known = frozenset(self._names)

    def _want(self, name: str) -> bytes | None:
        send(self._out, "want", name)
        self._out.flush()
        return answered(self._answers)

    def names(self) -> Iterable[str]:
        if len(self._names) > _MOST_MEMBERS:
            raise ValueError(f"more than {_MOST_MEMBERS} files")
        return self._names

    def read(self, name: str) -> bytes | None:
        if name not in self._known:
            return None
        data = self._described[name] = self._want(name) or b""
        if len(data) > _LONGEST_METADATA:
            raise ValueError(f"metadata of more than {_LONGEST_METADATA} bytes")
        return data

    def __getitem__(self, name: str) -> Buffer:
        if name not in self._known:
            raise KeyError(name)
        data = self._described.get(name)
        if data is None:
            if self._last[0] != name:
                self._last = name, self._want(name) or b""
            data = self._last[1]
        return default_buffer_prototype().buffer.from_bytes(data)


def _all(
    store: Store, described: Mapping[str, dict[str, Any]], budget: Budget, ignored: frozenset[str]
) -> Iterator[Sent]:
    """Yield every node."""
    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    root = min(described, key=len)
    if any(node != root and not node.startswith(f"{root}/".lstrip("/")) for node in described):
        raise ValueError("several of them in one file")
    for node, metadata in sorted(described.items()):
        name = f"/{node[len(root) :].lstrip('/')}"
        if is_ignored(ignored, name, name.rpartition("/")[2]):
            continue
        yield from _attributes(name, metadata["attributes"], ignored)
        if metadata["node_type"] == "group":
            yield [part(name), text("group")]
            continue
        array = zarr.open_array(store=store, path=node, mode="r", zarr_format=metadata["zarr_format"])
        budget.take(name, array.shape, array.dtype.itemsize)
        yield from _array(name, array)


def _nodes(files: _Files) -> dict[str, dict[str, Any]]:
    """Return what each node is, by its path."""
    found = []
    for name in files.names():
        node, _, file = name.rpartition("/")
        if file in _DESCRIBED:
            found.append((node, file))
    if not found:
        raise ValueError("no zarr.json, .zarray or .zgroup in it")
    if len(found) != len(dict(found)):
        raise ValueError("a node that is described twice")
    return {node: _described(files, node, file) for node, file in found}


def _check_chunks(names: Iterable[str], described: Mapping[str, dict[str, Any]]) -> None:
    """Raise ValueError for a chunk of no array: nobody would read it."""
    of_arrays: set[str] = {node for node, metadata in described.items() if metadata["node_type"] == "array"}
    for name in names:
        folder_of, _, file = name.rpartition("/")
        if file in _METADATA or folder_of in of_arrays or "" in of_arrays:
            continue
        parts = folder_of.split("/")
        if not any("/".join(parts[:count]) in of_arrays for count in range(len(parts), 0, -1)):
            raise ValueError(f"{name}, which is of no array")
        of_arrays.add(folder_of)


def _read(files: _Files, name: str) -> dict[str, Any]:
    data = files.read(name)
    if data is None:
        return {}
    document = json.loads(data)
    if not isinstance(document, dict):
        raise TypeError(f"{name} is no object of JSON")
    return document


def _described(files: _Files, node: str, file: str) -> dict[str, Any]:
    """Return what a node is, in the words of version 3; ValueError for codecs that may not run."""
    prefix = f"{node}/" if node else ""
    document = _read(files, prefix + file)
    if file == "zarr.json":
        _check_codecs(document.get("codecs") or [], "name")
        return {"attributes": {}, **document, "zarr_format": 3}
    filters = document.get("filters") or []
    _check_codecs([*filters, *filter(None, [document.get("compressor")])], "id")
    if _has_objects(document.get("dtype")) and not str(filters).count("vlen-"):
        raise ValueError(f"{node}: objects of Python")
    kind = "group" if file == ".zgroup" else "array"
    return {"attributes": _read(files, f"{prefix}.zattrs"), "node_type": kind, "zarr_format": 2}


def _has_objects(dtype: object) -> bool:
    """Say whether a type of version 2 is one of Python's objects, or has such a field."""
    if isinstance(dtype, list):
        return any(_has_objects(field[1]) for field in dtype)
    return "O" in str(dtype)


def _check_codecs(codecs: list[Any], key: str, depth: int = 0) -> None:
    """Raise ValueError for a codec that does more than pack numbers; shards have codecs of their own."""
    for codec in codecs:
        name = codec if isinstance(codec, str) else codec[key]
        if str(name).removeprefix("numcodecs.") not in _CODECS or depth > _DEPTH:
            raise ValueError(f"codec {name}")
        inner = codec.get("configuration") if isinstance(codec, dict) else None
        for more in ("codecs", "index_codecs"):
            if isinstance(inner, dict):
                _check_codecs(inner.get(more) or [], key, depth + 1)


def _attributes(name: str, attributes: Mapping[str, Any], ignored: frozenset[str]) -> Iterator[Sent]:
    short = name.rpartition("/")[2]
    for key, value in sorted(attributes.items()):
        if not is_ignored(ignored, key, f"{name}:{key}", f"{short}:{key}"):
            yield [part(f"{name}:{key}"), *_flat(value, 0)]


def _flat(value: object, depth: int) -> Iterator[Token]:
    """Yield a value of JSON as tokens."""
    if depth > _DEPTH:
        raise ValueError("attributes in attributes, too deep")
    if isinstance(value, list):
        yield b"["
        for each in value:
            yield from _flat(each, depth + 1)
        yield b"]"
    elif isinstance(value, dict):
        yield b"{"
        for key, each in sorted(value.items()):
            yield text(key)
            yield from _flat(each, depth + 1)
        yield b"}"
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 63:
        yield value
    else:
        yield text(value) if isinstance(value, str) else str(value).lower().encode()


def _array(name: str, array: zarr.Array[Any]) -> Iterator[Sent]:
    chunks = array.shards or array.chunks
    if array.nchunks > _MOST_CHUNKS:
        raise ValueError(f"{name}: more than {_MOST_CHUNKS} chunks")
    dimensions = getattr(array.metadata, "dimension_names", None)
    for field in fields_of(array.dtype) or [""]:
        more = {"dimensions": dimensions} if dimensions else {}
        whole = f"{name}.{field}" if field else name
        yield [part(whole, array.shape, **more)]
        for block in blocks(array, chunks):
            values = np.asarray(array[block])
            yield from parts_of(whole, values[field] if field else values)
