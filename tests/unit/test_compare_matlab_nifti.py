"""MATLAB's version 5 and NIfTI: what of them counts, how places in them are called, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import scipy.io  # type: ignore[import-untyped]
import scipy.sparse  # type: ignore[import-untyped]

from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule

CONTENT = CompareRule(comparator=Comparator.CONTENT)
VALUES = np.arange(6.0).reshape(2, 3) + 0.5


def saved(**variables: Any) -> bytes:
    """Return a MATLAB file by SciPy."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables)
    return stream.getvalue()


def where(left: bytes, right: bytes, name: str = "a.mat", rule: CompareRule = CONTENT) -> str | None:
    """Return the place at which two files differ; what is signed says as much."""
    found = first_difference(io.BytesIO(left), io.BytesIO(right), name, rule)
    digests = {normalized_digest(io.BytesIO(data), name, rule) for data in (left, right)}
    assert (len(digests) == 1) is (found is None)
    return None if found is None else found.where


def changed(values: np.ndarray[Any, Any], index: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return an array with another value at one place."""
    other = values.copy()
    other[index] += 1
    return other


@pytest.mark.parametrize(
    ("left", "right", "place"),
    [
        ({"T": VALUES}, {"T": changed(VALUES, (1, 2))}, "T, index (1, 2)"),
        ({"T": VALUES}, {"T": changed(VALUES, (0, 1))}, "T, index (0, 1)"),
        ({"T": VALUES * 1j}, {"T": changed(VALUES, (1, 0)) * 1j}, "T (imaginary), index (1, 0)"),
        ({"T": VALUES}, {"T": VALUES.T}, "the beginning"),
        ({"s": {"E": 1.5, "F": 2.5}}, {"s": {"E": 1.5, "F": 3.5}}, "s.F, index (0, 0)"),
        ({"c": np.array([VALUES, "a"], dtype=object)}, {"c": np.array([changed(VALUES, (1, 1)), "a"], dtype=object)}, "c{0}, index (1, 1)"),
        ({"w": "one"}, {"w": "two"}, "w"),
        ({"S": scipy.sparse.eye(3)}, {"S": scipy.sparse.eye(3) * 2}, "S (stored), index (0)"),
        ({"b": np.array([True])}, {"b": np.array([1], dtype="u1")}, "the beginning"),
        ({"a": 1.5, "b": 2.5}, {"a": 1.5}, "behind a"),
    ],
)
def test_what_differs_in_matlab_files_is_named(left: dict[str, Any], right: dict[str, Any], place: str) -> None:
    """As MATLAB has it: row, column."""
    found = where(saved(**left), saved(**right))
    assert found is not None
    assert found == place or (place == "w" and found.startswith("w"))


def test_the_width_of_stored_numbers_does_not_count() -> None:
    """MATLAB stores doubles that are whole as bytes; and orders of bytes are one."""
    double = saved(T=np.array([[1.0, 2.0]]))
    flags = struct.pack("<IIII", 6, 8, 6, 0)
    shape, name = struct.pack("<IIii", 5, 8, 1, 2), struct.pack("<HHc3x", 1, 1, b"T")
    body = flags + shape + name + struct.pack("<HHBB2x", 2, 2, 1, 2)
    header = b"MATLAB 5.0 MAT-file by hand".ljust(124) + struct.pack("<H2s", 0x100, b"IM")
    little = header + struct.pack("<II", 14, len(body)) + body
    assert where(double, little) is None
    body = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 2) + struct.pack(">HHc3x", 1, 1, b"T")
    body += struct.pack(">IIdd", 9, 16, 1.0, 2.0)
    big = b"MATLAB 5.0 MAT-file by hand".ljust(124) + struct.pack(">H2s", 0x100, b"MI") + struct.pack(">II", 14, len(body)) + body
    assert where(double, big) is None


def test_names_are_ignored() -> None:
    """Of variables and of fields."""
    rule = CONTENT._replace(ignore=("date", "s.host"))
    one, other = (saved(date=day, T=VALUES, s={"host": day, "E": 1.5}) for day in ("one", "two"))
    assert where(one, other, rule=rule) is None


def element(kind: int, data: bytes) -> bytes:
    """Return an element of a MATLAB file."""
    return struct.pack("<II", kind, len(data)) + data


HEAD = saved()[:128]
MATLAB_REFUSED = {
    "a header alone, cut": HEAD[:100],
    "an element that is longer than the file": HEAD + struct.pack("<II", 14, 1 << 31),
    "a packed one that never ends": HEAD + element(15, zlib.compress(bytes(1 << 20))[:50]),
    "a packed one that is no matrix": HEAD + element(15, zlib.compress(element(9, bytes(8)))),
    "an opaque object": HEAD + element(14, element(6, struct.pack("<II", 17, 0)) + element(1, b"a" * 8)),
    "a shape below nothing": HEAD + element(14, element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", -1, -1)) + element(1, b"a" * 8)),
    "more cells than there can be": HEAD
    + element(14, element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1 << 30, 1 << 30)) + element(1, b"a" * 8)),
    "fewer values than its shape": HEAD
    + element(14, element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", 1, 9)) + element(1, b"a" * 8) + element(9, bytes(16))),
}


@pytest.mark.parametrize("case", MATLAB_REFUSED)
def test_absurd_matlab_files_are_refused(case: str) -> None:
    """At once, in words."""
    with pytest.raises(CompareError, match="not a table"):
        normalized_digest(io.BytesIO(MATLAB_REFUSED[case]), "a.mat", CONTENT)


def test_cells_in_cells_end() -> None:
    """However deep they are made to look."""
    data = element(14, element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", 0, 0)) + element(1, b"a" * 8) + element(9, b""))
    for _ in range(100):
        data = element(14, element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, b"a" * 8) + data)
    with pytest.raises(CompareError, match="too deep"):
        normalized_digest(io.BytesIO(HEAD + data), "a.mat", CONTENT)


def nifti(values: np.ndarray[Any, Any], *, order: str = "<", second: bool = False, kind: int = 64, dims: tuple[int, ...] = (), before: float = 4) -> bytes:
    """Return a NIfTI file of doubles."""
    shape = [len(dims or values.shape), *(dims or values.shape)]
    shape += [1] * (8 - len(shape))
    header = bytearray(540 if second else 348)
    struct.pack_into(f"{order}i", header, 0, len(header))
    struct.pack_into(f"{order}8{'q' if second else 'h'}", header, 16 if second else 40, *shape)
    struct.pack_into(f"{order}h", header, 12 if second else 70, kind)
    struct.pack_into(f"{order}{'q' if second else 'f'}", header, 168 if second else 108, len(header) + (int(before) if second else before))
    header[4:8] = b"n+2\0" if second else header[4:8]
    header[344:348] = header[344:348] if second else b"n+1\0"
    return bytes(header) + bytes(4) + values.astype(f"{order}f8").tobytes("F")


def test_what_differs_in_nifti_files_is_named() -> None:
    """By voxels as they are counted: x, y, z."""
    voxels = np.arange(24.0).reshape(2, 3, 4)
    assert where(nifti(voxels), nifti(changed(voxels, (1, 2, 3))), "a.nii") == "voxels, index (1, 2, 3)"
    assert where(nifti(voxels), nifti(changed(voxels, (1, 0, 2))), "a") == "voxels, index (1, 0, 2)"


def test_the_order_of_bytes_does_not_count() -> None:
    """Nor does which version of the header it is, where both say the same."""
    voxels = np.arange(24.0).reshape(2, 3, 4)
    assert where(nifti(voxels), nifti(voxels, order=">"), "a.nii") is None
    assert where(nifti(voxels), nifti(voxels, second=True), "a.nii") is None


NIFTI_REFUSED = {
    "cut in the header": nifti(VALUES)[:200],
    "cut among the voxels": nifti(VALUES)[:-1],
    "a type that nobody knows": nifti(VALUES, kind=99),
    "more voxels than disks have": nifti(VALUES, second=True, dims=(1 << 40, 1 << 40)),
    "fewer than no voxels": nifti(VALUES, dims=(-1, 3)),
    "voxels before the header": nifti(VALUES, before=-100),
    "voxels nowhere": nifti(VALUES, before=float("nan")),
    "voxels far behind": nifti(VALUES, second=True, before=1 << 50),
    "no mark": b"\x5c\x01\0\0" + bytes(400),
}


@pytest.mark.parametrize("case", NIFTI_REFUSED)
def test_absurd_nifti_files_are_refused(case: str) -> None:
    """At once, in words."""
    with pytest.raises(CompareError, match="not a table"):
        normalized_digest(io.BytesIO(NIFTI_REFUSED[case]), "a.nii", CONTENT)
