"""Zarr, versions 2 and 3, in a ZIP file: groups, attributes and arrays by name, in sorted order, by the zarr library.

Chunks, shards, their codecs and fill values, consolidated metadata, and who packed the folder do not count. Metadata
are checked before zarr sees them: a codec may be any code that somebody installed, and one of numcodecs' runs what it
reads.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
import zarr.storage

from nexapod_batch.compare.formats.foreign.arrays import Budget, blocks, fields_of, parts_of
from nexapod_batch.compare.formats.named import is_ignored, part, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexapod_batch.compare.formats.foreign.frames import Sent
    from nexapod_batch.compare.numbers import Token

__all__ = ["batches"]

_MOST_MEMBERS = 1_000_000
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


def batches(path: str, ignored: frozenset[str]) -> Iterator[Sent]:
    """Yield every node.

    Raises:
        ValueError: It is no Zarr, or may not be read.

    """
    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    budget = Budget(Path(path).stat().st_size)
    with zipfile.ZipFile(path) as archive:
        nodes = _nodes(archive)
        described = {node: _described(archive, node, file) for node, file in nodes}
    root = min(described, key=len)
    if any(node != root and not node.startswith(f"{root}/".lstrip("/")) for node in described):
        raise ValueError("several of them in one file")
    store = zarr.storage.ZipStore(path, mode="r")  # it ends with this process
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


def _nodes(archive: zipfile.ZipFile) -> list[tuple[str, str]]:
    """Return the path of each node, and the name of the file that describes it."""
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS or len(archive.NameToInfo) != len(members):
        raise ValueError(f"more than {_MOST_MEMBERS} members, or one twice")
    if any(member.file_size > _LONGEST_MEMBER for member in members):
        raise ValueError(f"a member of more than {_LONGEST_MEMBER} bytes")
    found = []
    for member in members:
        node, _, file = member.filename.rpartition("/")
        if file in _DESCRIBED:
            found.append((node, file))
    if not found:
        raise ValueError("no zarr.json, .zarray or .zgroup in it")
    if len(found) != len(dict(found)):
        raise ValueError("a node that is described twice")
    return found


def _read(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    member = archive.NameToInfo.get(name)
    if member is None:
        return {}
    if member.file_size > _LONGEST_METADATA:
        raise ValueError(f"metadata of more than {_LONGEST_METADATA} bytes")
    document = json.loads(archive.read(member))
    if not isinstance(document, dict):
        raise TypeError(f"{name} is no object of JSON")
    return document


def _described(archive: zipfile.ZipFile, node: str, file: str) -> dict[str, Any]:
    """Return what a node is, in the words of version 3; ValueError for codecs that may not run."""
    prefix = f"{node}/" if node else ""
    document = _read(archive, prefix + file)
    if file == "zarr.json":
        _check_codecs(document.get("codecs") or [], "name")
        return {"attributes": {}, **document, "zarr_format": 3}
    filters = document.get("filters") or []
    _check_codecs([*filters, *filter(None, [document.get("compressor")])], "id")
    if _has_objects(document.get("dtype")) and not str(filters).count("vlen-"):
        raise ValueError(f"{node}: objects of Python")
    kind = "group" if file == ".zgroup" else "array"
    return {"attributes": _read(archive, f"{prefix}.zattrs"), "node_type": kind, "zarr_format": 2}


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
