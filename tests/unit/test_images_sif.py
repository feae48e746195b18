"""The header of a SIF file: read right, and nothing believed of a file that is not whole."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sifs import ARM64, sif_bytes, write_sif

from nexapod_batch.errors import ImageError
from nexapod_batch.images.sif import ARCHITECTURES, Sif, read


def test_what_a_header_says(tmp_path: Path) -> None:
    """Architecture as `uname -m` says it, age, size, labels."""
    path = write_sif(tmp_path / "a.sif", labels={"version": "1.2", "a": "b"})
    size = path.stat().st_size
    assert read(path) == Sif(
        architecture="x86_64", created=1_700_000_000, size=size, labels={"a": "b", "version": "1.2"}
    )


@pytest.mark.parametrize(
    ("code", "name"),
    [(ARM64, "aarch64"), (b"01\0", "i686"), (b"06\0", "ppc64le"), (b"00\0", ""), (b"zz\0", ""), (b"99\0", "")],
)
def test_every_architecture_has_its_name(tmp_path: Path, code: bytes, name: str) -> None:
    """One that nobody knows has none, and stops nobody."""
    assert read(write_sif(tmp_path / "a.sif", architecture=code)).architecture == name


def test_architectures_are_named_as_go_names_them() -> None:
    """Registries and libraries are asked in these words."""
    assert ARCHITECTURES["amd64"] == "x86_64"
    assert ARCHITECTURES["arm64"] == "aarch64"


@pytest.mark.parametrize("cut", [1, 600, len(sif_bytes()) - 4096, len(sif_bytes()) - 100])
def test_a_truncated_file_is_called_so(tmp_path: Path, cut: int) -> None:
    """Wherever it ends: in the data, in the table, in the header."""
    path = tmp_path / "a.sif"
    path.write_bytes(sif_bytes()[:-cut])
    with pytest.raises(ImageError, match=r"a\.sif is truncated: got \d+ bytes, wanted \d+ or more\n  -> copy"):
        read(path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is no SIF file: got an empty file"),
        (b"\x7fELF" + b"\0" * 5000, "is no SIF file: got another kind of file"),
        (sif_bytes(version=b"07\0"), "has an unknown format"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, body: bytes, said: str) -> None:
    """With what was got."""
    path = tmp_path / "a.sif"
    path.write_bytes(body)
    with pytest.raises(ImageError, match=said):
        read(path)


@pytest.mark.parametrize(("at", "value"), [(96, -1), (96, 1 << 40), (104, -5), (4096 + 17, -8), (4096 + 25, 1 << 62)])
def test_a_hostile_header_is_not_followed(tmp_path: Path, at: int, value: int) -> None:
    """Numbers of descriptors, offsets and sizes are checked against the file before they are used."""
    body = bytearray(sif_bytes())
    struct.pack_into("<q", body, at, value)
    path = tmp_path / "a.sif"
    path.write_bytes(body)
    with pytest.raises(ImageError):
        read(path)


def test_a_file_without_a_file_system_is_no_image(tmp_path: Path) -> None:
    """A signature alone, say."""
    body = bytearray(sif_bytes())
    struct.pack_into("<i", body, 4096, 0x4005)
    path = tmp_path / "a.sif"
    path.write_bytes(body)
    with pytest.raises(ImageError, match="holds no file system"):
        read(path)


@pytest.mark.parametrize("labels", [b'{"data": 1}', b"[" * 100_000, b"\xff", b"{}"])
def test_labels_that_cannot_be_read_are_none(tmp_path: Path, labels: bytes) -> None:
    """They are for people; the image is not worse for it."""
    body = sif_bytes(labels={"x": "y" * 100_100})
    start = body.index(b'{"data"')
    path = tmp_path / "a.sif"
    path.write_bytes(body[:start] + labels.ljust(100_100, b" ") + body[start + 100_100 :])
    assert read(path).labels == {}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Says so, with its name."""
    with pytest.raises(ImageError, match=r"nowhere\.sif cannot be read: got No such file"):
        read(tmp_path / "nowhere.sif")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=20), st.integers(0, 40_000))
def test_no_bytes_lead_to_another_exception(tmp_path: Path, changes: list[tuple[int, int]], length: int) -> None:
    """Damaged anywhere, cut anywhere: an image, or ImageError."""
    body = bytearray(sif_bytes(labels={"a": "b"}))
    for at, value in changes:
        body[at] = value
    path = tmp_path / "a.sif"
    path.write_bytes(body[:length])
    try:
        assert read(path).size == len(body[:length])
    except ImageError:
        pass
