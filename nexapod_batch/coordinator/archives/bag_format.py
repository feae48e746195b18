"""What a bag is made of: names of its files, and their text. Pure.

BagIt 1.0 (RFC 8493), SHA-256 alone. One file stands outside its rules: the coordinator's signature of the tag manifest,
which names every other tag file, of which one names every file of the payload.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.trust.statement_rules import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BAGIT", "BAGIT_TEXT", "BAG_INFO", "COORDINATOR_KEY", "CRATE", "DIFFERENCES", "INPUTS", "MANIFEST", "MAX_BYTES",
    "MAX_MEMBERS", "MAX_TEXT", "PAYLOAD", "PROOF", "README", "REPRODUCTIONS", "RESULTS", "SIGNATURE", "TAGS",
    "TAG_FILES", "bag_info", "bag_name", "manifest_text", "parse_bag_info", "parse_manifest",
]  # fmt: skip

BAGIT, BAG_INFO, README = "bagit.txt", "bag-info.txt", "README.md"
MANIFEST, TAGS, SIGNATURE = "manifest-sha256.txt", "tagmanifest-sha256.txt", "tagmanifest-sha256.sig"
#: Every tag file that the tag manifest names.
TAG_FILES = (README, BAG_INFO, BAGIT, MANIFEST)
BAGIT_TEXT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

PAYLOAD = "data/"
CRATE = f"{PAYLOAD}ro-crate-metadata.json"
PROOF, RESULTS, INPUTS, DIFFERENCES = (f"{PAYLOAD}{name}/" for name in ("proof", "results", "inputs", "differences"))
COORDINATOR_KEY = f"{PROOF}coordinator.spki"
#: What readers added since; each file of it is signed by itself.
REPRODUCTIONS = "reproductions/"

#: Files of an archive, bytes of all of them, and bytes of a manifest or of metadata, at most.
MAX_MEMBERS, MAX_BYTES, MAX_TEXT = 500_000, 1 << 39, 256 << 20

_LINE = re.compile(r"([0-9a-f]{64})  ([^\n\r]+)")
#: What a reader of bags decodes in a name: RFC 8493 asks for these three, bagit.py and sha256sum know none of them.
_ENCODED = re.compile("%(0A|0D|25)", re.IGNORECASE)
_DECODED = {"0A": "\n", "0D": "\r", "25": "%"}


def bag_name(uuid: str) -> str:
    """Return what the folder in a tar file is called."""
    return f"nexapod-{uuid}"


def manifest_text(entries: Iterable[tuple[str, str]]) -> bytes:
    """Return the manifest of (name, hex SHA-256), sorted bytewise by name.

    `%` is written as `%25` only in a name that a reader would decode otherwise: what is in others is what
    `sha256sum --check` and bagit.py look for.
    """
    lines = sorted((name.encode(), digest.encode()) for name, digest in entries)
    return b"".join(digest + b"  " + _encoded(name) + b"\n" for name, digest in lines)


def _encoded(name: bytes) -> bytes:
    if b"%" in name and _ENCODED.search(name.decode()):
        return name.replace(b"%", b"%25")
    return name


def parse_manifest(text: bytes) -> dict[str, str]:
    """Return the hex SHA-256 by name; ValueError for what `manifest_text` does not write."""
    found: dict[str, str] = {}
    for line in text.decode().split("\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"a line of it is none: {line[:80]!a}")
        name = match[2]
        if "%" in name:
            name = _ENCODED.sub(lambda code: _DECODED[code[1].upper()], name)
        if not safe_name(name) or name in found:
            raise ValueError(f"a name in it is unsafe, or stands there twice: {name[:80]!a}")
        found[name] = match[1]
    if manifest_text(found.items()) != text:
        raise ValueError("it is not sorted, or not written as here")
    return found


def bag_info(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return the text of `bag-info.txt`; line ends in values become blanks."""
    return "".join([f"{label}: {' '.join(value.split())}\n" for label, value in pairs]).encode()


def parse_bag_info(text: bytes) -> dict[str, str]:
    """Return the values of `bag-info.txt` by label; ValueError for what is none of ours."""
    found = {}
    for line in text.decode().split("\n")[:-1]:
        label, colon, value = line.partition(": ")
        if not colon or label in found:
            raise ValueError(f"a line of it is none: {line[:80]!a}")
        found[label] = value
    return found
