"""Files that travel: inputs with a submission, results back, each compared with its digest."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from nexapod_client.errors import ConflictError, NexaPodError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nexapod_client.nouns import ResultFile
    from nexapod_client.transport import Transport

__all__ = ["carried", "is_inside", "named", "read", "save", "save_tar"]

#: Bytes that are asked for at once; of a part that is sent; of one file, and of all, that travel with a submission.
_BLOCK, _PART, _SMALL, _WITH_IT = 8 << 20, 4 << 20, 1 << 20, 12 << 20
#: Characters of names that stand for others.
_PATTERN = frozenset("{*?[")
#: How often an input is looked after that did not arrive whole, and seconds between.
_TRIES, _PAUSE_S = 8, 0.5


def carried(
    transport: Transport, document: Mapping[str, Any], given: Mapping[str, bytes | str | Path]
) -> dict[str, str | dict[str, str]]:
    """Return the files that go with a descriptor: small ones in base64, others by the SHA-256 as which they are sent.

    What is large is sent here, in parts, and goes on where it ended when it was cut; it is read once before.
    """
    contents = _contents(document, given)
    found: dict[str, str | dict[str, str]] = {}
    left = _WITH_IT
    for name, content in contents.items():
        size = len(content) if isinstance(content, bytes) else Path(content).stat().st_size
        if size > min(_SMALL, left):
            found[name] = {"sha256": _sent(transport, content)}
            continue
        data = content if isinstance(content, bytes) else Path(content).read_bytes()
        found[name], left = base64.b64encode(data).decode(), left - size
    return found


def _contents(
    document: Mapping[str, Any], given: Mapping[str, bytes | str | Path]
) -> dict[str, bytes | str | Path]:
    """Return what was given, and the files of the current folder that a descriptor names.

    Raises:
        NexaPodError: One is not there.

    """
    contents = dict(given)
    there = document.get("files", {})
    if not isinstance(there, dict):
        wanted = {"got": repr(there)[:100], "wanted": "a table of paths and contents"}
        raise NexaPodError("files is no table", problem=wanted)
    for name in named(document):
        if name in contents or name in there or not is_inside(name):
            continue
        if Path(name).is_file():
            contents[name] = Path(name)
        elif not _PATTERN & set(name):
            problem = {"got": repr(name)[:200], "wanted": f"a file below {Path.cwd()}, or what is in it, in `files`"}
            raise NexaPodError("an input is not here", problem=problem)
    return contents


def _sent(transport: Transport, content: bytes | str | Path) -> str:
    """Send an input, as far as the server does not have it; return its SHA-256.

    Raises:
        NexaPodError: It is not taken, or changed while it was sent.

    """
    with io.BytesIO(content) if isinstance(content, bytes) else Path(content).open("rb") as stream:
        digest, total = hashlib.file_digest(stream, "sha256").hexdigest(), stream.seek(0, os.SEEK_END)
        path = f"/v1/inputs/{digest}"
        for _ in range(_TRIES):
            state = transport.request("HEAD", path, again=True).headers
            if state.get("upload-complete") == "?1":
                return digest
            try:
                _send_rest(transport, path, stream, int(state["upload-offset"]), total)
            except ConflictError:  # a part arrived whose answer was lost, or somebody else sends it too
                time.sleep(_PAUSE_S)
    raise NexaPodError("an input could not be sent", problem={"hint": "submit the same again"})


def _send_rest(transport: Transport, path: str, stream: BinaryIO, offset: int, total: int) -> None:
    while True:
        stream.seek(offset)
        part = stream.read(_PART)
        headers = {"Upload-Offset": str(offset), "Upload-Length": str(total)}
        headers["Content-Type"] = "application/octet-stream"
        transport.request("PATCH", path, body=part, headers=headers, again=True, longer=60.0)
        offset += len(part)
        if offset >= total or not part:
            return


def named(document: Mapping[str, Any]) -> Iterable[str]:
    """Yield which files a descriptor names."""
    inputs = document.get("inputs")
    for one in inputs if isinstance(inputs, list | tuple) else ():
        source = one.get("source") if isinstance(one, dict) else None
        if isinstance(source, str):
            yield source
    array = document.get("array")
    if isinstance(array, dict) and isinstance(array.get("values"), str):
        yield array["values"]


def is_inside(name: str) -> bool:
    """Say whether a name leads to below the current folder."""
    return "://" not in name and not os.path.isabs(name) and ".." not in name.split("/")


def _path(file: ResultFile) -> str:
    return f"/v1/jobs/{file.job}/results/{file.task}/{quote(file.path, safe='/')}"


def read(transport: Transport, file: ResultFile) -> bytes:
    """Return the content of a result; NexaPodError where it is not as it was signed."""
    content = transport.request("GET", _path(file)).body
    _check(file, hashlib.sha256(content).hexdigest())
    return content


def save(transport: Transport, files: Sequence[ResultFile], to: str | Path) -> list[ResultFile]:
    """Save results as TO/TASK/PATH, a block at a time, and return them with where they are.

    Raises:
        NexaPodError: A file is not as it was signed, or has a name that leads elsewhere.

    """
    saved = []
    for file in files:
        parts = file.path.split("/")
        if os.path.isabs(file.path) or any(part in {"", ".", ".."} for part in parts):
            raise NexaPodError("the server names a result that leads elsewhere", problem={"got": ascii(file.path)})
        target = Path(to) / str(file.task) / file.path
        if not (target.is_file() and target.stat().st_size == file.size and _digest(target) == file.sha256):
            _fetch(transport, file, target)
        saved.append(file.saved(target))
    return saved


def _fetch(transport: Transport, file: ResultFile, target: Path) -> None:
    """Fetch a result block by block into a file beside the target, and rename it when it is what was signed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:200]}.part")
    digest = hashlib.sha256()
    with partial.open("wb") as stream:
        while stream.tell() < file.size:
            start = stream.tell()
            wanted = f"bytes={start}-{min(start + _BLOCK, file.size) - 1}"
            block = transport.request("GET", _path(file), headers={"Range": wanted}).body
            if not block or len(block) > _BLOCK:
                raise NexaPodError(f"the server sent {len(block)} bytes of {file.path} where it was asked for {wanted}")
            digest.update(block)
            stream.write(block)
    try:
        _check(file, digest.hexdigest())
    except NexaPodError:
        partial.unlink()
        raise
    partial.replace(target)


def save_tar(transport: Transport, path: str, to: str | Path) -> Path:
    """Save what the server makes at a path, when it came as the server's ETag says.

    Raises:
        NexaPodError: Something else came.

    """
    target = Path(to)
    partial = target.with_name(f".{target.name[:200]}.part")
    try:
        with partial.open("w+b") as stream:
            answer = transport.request("GET", path, longer=600.0, into=stream)
        wanted = answer.headers.get("etag", "").strip('"')
        got = _digest(partial)
        if got != wanted:
            problem = {"got": f"sha256 {got}", "wanted": wanted, "hint": "fetch it again"}
            raise NexaPodError("what came is not what the server sent", problem=problem)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(file: ResultFile, digest: str) -> None:
    if file.sha256 is not None and digest != file.sha256:
        problem = {"got": f"sha256 {digest}", "wanted": file.sha256, "hint": "fetch it again; then ask the operator"}
        raise NexaPodError(f"{file.path} of task {file.task} is not what was signed", problem=problem)
