"""Files that come with a submission: in base64, or named by the SHA-256 of what was sent before it."""

from __future__ import annotations

import base64
import binascii
import os
from typing import TYPE_CHECKING, Any

from nexapod_batch.files.own import own_folder
from nexapod_batch.server import person_uploads, problems
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust.nesting import quoted
from nexapod_batch.trust.statement_rules import is_hex

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.server.calls import Call

__all__ = ["unpacked"]

_FILES = 1_000


def unpacked(call: Call, files: object) -> Path:
    """Write the files that came with a job into a folder of their own; RequestError before any is written."""
    if not isinstance(files, dict) or len(files) > _FILES:
        raise RequestError(problems.BAD_REQUEST, "files", wanted=f"an object of at most {_FILES} paths and base64")
    contents = {_relative(name): _content(call, name, given) for name, given in files.items()}
    folder = call.service.paths.home / "server" / "incoming" / os.urandom(16).hex()
    own_folder(folder)
    for name, content in contents.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            os.link(content, file)
    return folder


def _content(call: Call, name: str, given: Any) -> bytes | Path:  # noqa: ANN401 - what somebody sent
    """Return what is in a file, or where it is that was sent before."""
    if not isinstance(given, dict):
        return _decoded(name, given)
    digest = given.get("sha256")
    if given.keys() != {"sha256"} or not isinstance(digest, str) or not is_hex(digest, 64):
        raise RequestError(problems.BAD_REQUEST, f"files: {quoted(name)}", wanted='{"sha256": 64 hex digits}')
    found = person_uploads.find(person_uploads.folder_of(call.service.paths, call.caller.name), digest)
    if found is None:
        hint = f"PATCH /v1/inputs/{digest} sends it"
        raise RequestError(problems.CONFLICT, "an input was not sent before", got=quoted(name), hint=hint)
    return found


def _relative(name: object) -> str:
    parts = name.split("/") if isinstance(name, str) else []
    good = 0 < len(parts) <= 16 and all(part not in {"", ".", ".."} and len(part.encode()) <= 255 for part in parts)
    if not good or not str(name).isprintable():
        raise RequestError(problems.BAD_REQUEST, "files", got=quoted(name), wanted="relative paths without . and ..")
    return str(name)


def _decoded(name: str, data: object) -> bytes:
    try:
        return base64.b64decode(data if isinstance(data, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(problems.BAD_REQUEST, f"files: {quoted(name)}", wanted="base64") from None
