"""NIfTI-1 and NIfTI-2 in one file (`.nii`, often packed): header fields by name, then the voxels, read by hand.

The order of bytes does not count, nor do fields that say nothing of what is in the file: where the voxels begin, and
what old programs need. `descrip`, in which many programs write their version or the day, may be ignored by its name.
"""

from __future__ import annotations

import struct
import sys
from array import array
from math import prod
from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.named import Parts, is_ignored, part, text
from nexapod_batch.compare.ignoring import names
from nexapod_batch.compare.stream import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Batch, Token
    from nexapod_batch.compare.stream import Source

__all__ = ["MAGICS", "read"]

#: The size of the header, in either order, with which a file begins.
MAGICS = tuple(struct.pack(f"{order}i", size) for size in (348, 540) for order in "<>")
#: Field -> its place and its type in NIfTI-1, and in NIfTI-2.
_FIELDS = {
    "intent": ("56 3f", "80 3d"), "intent_code": ("68 h", "504 i"), "pixdim": ("76 8f", "104 8d"),
    "scl_slope": ("112 f", "176 d"), "scl_inter": ("116 f", "184 d"), "slice_end": ("120 h", "232 q"),
    "slice_code": ("122 b", "496 i"), "xyzt_units": ("123 b", "500 i"), "cal_max": ("124 f", "192 d"),
    "cal_min": ("128 f", "200 d"), "slice_duration": ("132 f", "208 d"), "toffset": ("136 f", "216 d"),
    "descrip": ("148 80s", "240 80s"), "aux_file": ("228 24s", "320 24s"), "qform_code": ("252 h", "344 i"),
    "sform_code": ("254 h", "348 i"), "quatern": ("256 3f", "352 3d"), "qoffset": ("268 3f", "376 3d"),
    "srow": ("280 12f", "400 12d"), "intent_name": ("328 16s", "508 16s"),
}  # fmt: skip
#: Number of a type -> code of `array`, and how many of them make a value.
_TYPES = {
    2: ("B", 1), 4: ("h", 1), 8: ("i", 1), 16: ("f", 1), 32: ("f", 2), 64: ("d", 1), 128: ("B", 3), 256: ("b", 1),
    512: ("H", 1), 768: ("I", 1), 1024: ("q", 1), 1280: ("Q", 1), 1792: ("d", 2), 2304: ("B", 4),
}  # fmt: skip
_MOST_BYTES = 64 << 30
_MOST_BEFORE = 64 << 20  # bytes of extensions between header and voxels


def read(source: Source, suffix: str) -> tuple[Parts, Iterator[Batch]]:  # noqa: ARG001
    """Return the place and the batches of the header fields and the voxels."""
    return Parts(), _batches(source)


def _batches(source: Source) -> Iterator[Batch]:
    order, size = _begin(source)
    header = source.read(size)
    second = size == 540
    magic = header[4:7] if second else header[344:347]
    if len(header) < size or magic != (b"n+2" if second else b"n+1"):
        source.refuse(f"the mark {magic!a}", "a whole NIfTI file, header and voxels in one")
    ignored = names(source.rule.ignore)
    for name, places in _FIELDS.items():
        if not is_ignored(ignored, name):
            where, _, kind = places[second].partition(" ")
            values = struct.unpack_from(order + kind, header, int(where))
            yield [part(name, [len(values)]), *map(_token, values)]
    dims = struct.unpack_from(f"{order}8q" if second else f"{order}8h", header, 16 if second else 40)
    (kind_of,) = struct.unpack_from(f"{order}h", header, 12 if second else 70)
    (begin,) = struct.unpack_from(f"{order}q" if second else f"{order}f", header, 168 if second else 108)
    yield from _voxels(source, order, dims, kind_of, begin - size)


def _begin(source: Source) -> tuple[str, int]:
    for order in "<>":
        (size,) = struct.unpack_from(f"{order}i", source.head.ljust(4, b"\0"))
        if size in {348, 540}:
            return order, size
    return source.refuse("another size of the header", "a NIfTI file")


def _token(value: bytes | float) -> Token:
    if isinstance(value, bytes):
        return text(value.rstrip(b"\0").decode("utf-8", "backslashreplace"))
    return value


def _voxels(source: Source, order: str, dims: tuple[int, ...], kind: int, before: float) -> Iterator[Batch]:
    if not 0 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1], default=1) < 0 or kind not in _TYPES:
        source.refuse(f"dimensions {list(dims)} of type {kind}", "up to 7 dimensions of a type that NIfTI knows")
    if not 0 <= before <= _MOST_BEFORE:  # false for what is no number, too
        source.refuse(f"voxels {before} bytes behind the header", f"0 to {_MOST_BEFORE}")
    code, times = _TYPES[kind]
    shape = [*([times] if times > 1 else []), *dims[1 : dims[0] + 1]]
    left = prod(shape) * array(code).itemsize
    if left > _MOST_BYTES:
        source.refuse(f"{left} bytes of voxels", f"at most {_MOST_BYTES}")
    if len(source.read(int(before))) != int(before):
        source.refuse("the end before the voxels", "a whole NIfTI file")
    yield [part("voxels", shape, fortran=True)]
    while left:
        data = source.read(min(left, CHUNK))
        if len(data) != min(left, CHUNK):
            source.refuse("the end among the voxels", f"{left} bytes more")
        left -= len(data)
        values = array(code, data)
        if (order == "<") != (sys.byteorder == "little"):
            values.byteswap()
        yield values
