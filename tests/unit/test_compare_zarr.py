"""Zarr in a ZIP file: what of it counts, and what is refused before the library sees it."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_batch.compare.formats.foreign.zarr_store import batches
from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = CompareRule(comparator=Comparator.CONTENT)
V2: dict[str, Any] = {
    "zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<f8", "compressor": None, "filters": None, "order": "C",
    "fill_value": 0.0,
}  # fmt: skip
V3: dict[str, Any] = {
    "zarr_format": 3, "node_type": "array", "shape": [4], "data_type": "float64", "fill_value": 0.0, "attributes": {},
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}  # fmt: skip


def packed(**members: Any) -> bytes:
    """Return a ZIP file; names have `__` for a slash, and JSON is written as such."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data if isinstance(data, bytes) else json.dumps(data))
    return stream.getvalue()


def v3(**changes: object) -> bytes:
    """Return an array of version 3."""
    return packed(**{"zarr.json": V3 | changes})


def v2(**changes: object) -> bytes:
    """Return an array of version 2."""
    return packed(**{".zarray": V2 | changes})


class Evil:
    """What would run a command if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Name what is called."""
        return print, ("ran",)


PICKLED = packed(**{
    ".zarray": V2 | {"dtype": "|O", "filters": [{"id": "pickle"}], "shape": [1], "chunks": [1]}, "0": pickle.dumps(Evil()),
})  # fmt: skip
SHARD = {"chunk_shape": [1], "codecs": [{"name": "numcodecs.pickle"}], "index_codecs": []}

REFUSED = {
    "pickles": (PICKLED, "codec pickle"),
    "pickles that pack": (v2(compressor={"id": "pickle"}), "codec pickle"),
    "objects": (v2(dtype="|O"), "objects"),
    "objects in a record": (v2(dtype=[["a", "<f8"], ["b", "|O"]]), "objects"),
    "a codec that somebody installed": (v3(codecs=[{"name": "their.codec"}]), "codec their.codec"),
    "one in a shard": (v3(codecs=[{"name": "sharding_indexed", "configuration": SHARD}]), "codec numcodecs.pickle"),
    "no node": (packed(a__b=b"1"), "no zarr.json"),
    "two roots": (packed(**{"a__zarr.json": V3, "b__zarr.json": V3}), "several"),
    "a node that is described twice": (packed(**{"zarr.json": V3, ".zarray": V2}), "twice"),
    "metadata that are a list": (packed(**{"zarr.json": []}), "no object"),
    "a member of gigabytes": (packed(**{"zarr.json": V3, "c__0": bytes(257 << 20)}), "more than"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_not_be_read_is_refused_before_zarr_sees_it(case: str, tmp_path: Path) -> None:
    """By its metadata alone."""
    data, match = REFUSED[case]
    path = tmp_path / "a.zarr.zip"
    path.write_bytes(data)
    with pytest.raises((ValueError, TypeError), match=match):
        list(batches(str(path), frozenset()))


@pytest.mark.parametrize(
    "data",
    [
        v3(shape=[1 << 62]), v3(shape=[1 << 31], chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1]}}),
        v2(shape=[1 << 40], chunks=[1 << 40]), v2(shape=[-1]), b"PK\x03\x04" + b"\0" * 100, b"no ZIP at all",
    ],
    ids=["larger than disks", "billions of chunks", "a chunk larger than memory", "negative", "a mark alone", "text"],
)  # fmt: skip
def test_absurd_files_are_refused(data: bytes) -> None:
    """At once, by the process that reads them."""
    with pytest.raises(CompareError, match="not a table"):
        normalized_digest(io.BytesIO(data), "a.zarr.zip", CONTENT)


def test_names_that_lead_elsewhere_lead_nowhere() -> None:
    """Nothing is unpacked: a member is a key, whatever it is called."""
    whole, more = packed(**{"zarr.json": V3}), packed(**{"zarr.json": V3, "..__..__etc__passwd": b"root"})
    assert first_difference(io.BytesIO(whole), io.BytesIO(more), "a.zarr.zip", CONTENT) is None
