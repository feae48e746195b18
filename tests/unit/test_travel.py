"""How much of a job's inputs has to travel, in words."""

from __future__ import annotations

import pytest

from nexapod_batch.wording.travel import travel

GIB = 1 << 30


@pytest.mark.parametrize(
    ("files", "size", "files_to_send", "size_to_send", "wanted"),
    [
        (20_000, 12 * GIB // 10, 20_000, 12 * GIB // 10, "20,000 files, 1.2 GiB, all to be sent to far"),
        (20_000, 12 * GIB // 10, 15_000, 9 * GIB // 10, "20,000 files, 1.2 GiB: 15,000 files, 922 MiB, to be sent to far, the rest is there"),
        (20_000, 12 * GIB // 10, 0, 0, "20,000 files, 1.2 GiB, all on far already"),
        (120, 999, 2, 0, "120 files, 999 bytes: 2 files, 0 bytes, to be sent to far, the rest is there"),
        (1_000_000, 5000 * GIB, 0, 0, "1,000,000 files, 4.88 TiB, all on far already"),
    ],
)
def test_what_is_told(files: int, size: int, files_to_send: int, size_to_send: int, wanted: str) -> None:
    """All, some or none of them, in units that people read."""
    assert travel("far", files=files, size=size, files_to_send=files_to_send, size_to_send=size_to_send) == wanted
