"""SIF files made byte by byte: small ones that are right, and every kind of wrong one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

__all__ = ["AMD64", "ARM64", "sif_bytes", "write_sif"]

AMD64, ARM64 = b"02\0", b"04\0"
_START, _ROOM = 4096, 48


def sif_bytes(
    *,
    architecture: bytes = AMD64,
    content: bytes = b"squashfs" * 64,
    labels: dict[str, str] | None = None,
    created: int = 1_700_000_000,
    version: bytes = b"01\0",
) -> bytes:
    """Return a whole SIF file with one partition and, where `labels` are given, the record in which builders put them."""
    said = json.dumps({"data": {"attributes": {"labels": labels}}}).encode()
    parts = [(0x4006, b"inspect-metadata.json", said)] if labels is not None else []
    parts.append((0x4004, b"squashfs", content))
    at, table, data = _START + 585 * _ROOM, b"", b""
    for number, (kind, name, body) in enumerate(parts, 1):
        table += struct.pack(
            "<i?IIIqqqqqqq128s384s", kind, True, number, 1, 0, at + len(data), len(body), len(body), created, created, 0, 0, name, b"",
        )  # fmt: skip
        data += body
    head = struct.pack(
        "<32s10s3s3s16sqqqqqqqq", b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC\0", version, architecture, b"i" * 16,
        created, created, _ROOM - len(parts), _ROOM, _START, 585 * _ROOM, at, len(data),
    )  # fmt: skip
    return head.ljust(_START, b"\0") + table.ljust(585 * _ROOM, b"\0") + data


def write_sif(path: Path, **parts: object) -> Path:
    """Write such a file."""
    path.write_bytes(sif_bytes(**parts))  # type: ignore[arg-type]
    return path
