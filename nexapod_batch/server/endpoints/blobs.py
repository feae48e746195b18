"""Bytes by their SHA-256: inputs that a node may read, and files of replicas that it was asked for.

Uploads may stop and go on: `HEAD` tells `Upload-Offset`, a `PATCH` appends the part that begins there (names of the
draft of resumable uploads). The SHA-256 over all is compared at the end; what is something else is removed (422).

A node signs the `Content-Digest` of each part: its SHA-256; or where `HEAD` wants it (`Want-Content-Digest`, RFC 9530),
`sha-256-so-far`, that of the blob up to the end of the part. Then both sides hash the blob once, as it travels.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from msgspec import Struct
from starlette.responses import Response

from nexapod_batch.errors import TryAgainError, VerificationError
from nexapod_batch.files import careful
from nexapod_batch.mesh import signatures
from nexapod_batch.mesh.blobs import PART, OffsetError, PartError, Upload, check_room, swept
from nexapod_batch.mesh.mailbox import BLOBS, OFFERED, Mailbox
from nexapod_batch.server import node_sign_in, problems
from nexapod_batch.server.calls import Access, Call, Query, Route
from nexapod_batch.server.problems import RequestError
from nexapod_batch.server.uploads import digest_of, number_of_bytes, progress_headers
from nexapod_batch.trust.statement_rules import is_hex

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["ROUTES"]

T = TypeVar("T")
#: Who appends to a blob, one after the other in the order in which parts came.
_turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
#: Bytes of one blob, and of all that one node may have here at once.
MAX_BLOB, MAX_OF_NODE = 1 << 40, 1 << 40


class Have(Struct, frozen=True, kw_only=True):
    """Digests that a node could send."""

    digests: tuple[str, ...]


class Missing(Struct, frozen=True, kw_only=True):
    """Those of them that are not here."""

    missing: tuple[str, ...]


async def read_part(call: Call) -> Response:
    """Return a part of an input that a node may read, from the byte that `from` names."""
    digest, start = digest_of(call), number_of_bytes(call.query.get("from", "0"), "from")
    data, total = await _in_thread(lambda: _part(_spool(call) / OFFERED / digest, start))
    headers = {"upload-length": str(total), "cache-control": "no-store", "etag": f'"{digest}"'}
    return Response(data, 200, headers, media_type="application/octet-stream")


async def look(call: Call) -> Response:
    """Say how much of a blob that a node sends is here."""
    upload = Upload(_spool(call) / BLOBS, digest_of(call))
    complete, size, hashed = await _in_thread(lambda: (upload.complete(), upload.size(), upload.is_hashed()))
    wanted = {"want-content-digest": f"{signatures.SO_FAR}=2, {signatures.WHOLE}=1" if hashed else signatures.WHOLE}
    return Response(status_code=204, headers=progress_headers(size, complete=complete) | wanted)


async def append(call: Call) -> Response:
    """Append a part of a file that the node was asked for, comparing its SHA-256 at the end; RequestError."""
    headers = call.request.headers
    start = number_of_bytes(headers.get("upload-offset", ""), "Upload-Offset")
    total = number_of_bytes(headers.get("upload-length", ""), "Upload-Length")
    if start + len(call.body) > total or total > MAX_BLOB:
        raise RequestError(problems.TOO_LARGE, "more than was announced, or than is taken", got=total, wanted=MAX_BLOB)
    spool, upload = _spool(call), Upload(_spool(call) / BLOBS, digest_of(call))

    so_far = signatures.so_far_of(headers.get("content-digest", ""))

    def act() -> int:
        if not so_far:
            node_sign_in.check_body(call.request, call.body)
        return _append(spool, upload, start, call.body, total, so_far)

    try:
        async with _turns.setdefault(str(upload.target), asyncio.Lock()):
            size = await _in_thread(act)
    except OffsetError as error:
        more = {**progress_headers(error.size, complete=False), "retry-after": "1"}
        raise RequestError(problems.CONFLICT, error.what, got=start, wanted=error.size, headers=more) from None
    except PartError:
        raise node_sign_in.another_body() from None
    except VerificationError as error:
        raise RequestError(problems.DESCRIPTOR, error.what, got=error.got, wanted=error.wanted) from None
    return Response(status_code=204, headers=progress_headers(size, complete=size == total))


async def missing(call: Call) -> Missing:
    """Say which blobs are not here."""
    digests = [digest for digest in call.body.digests[:10_000] if is_hex(digest, 64)]
    folder = _spool(call) / BLOBS
    return Missing(missing=tuple(await _in_thread(lambda: [one for one in digests if not (folder / one).exists()])))


def _append(spool: Path, upload: Upload, start: int, data: memoryview, total: int, so_far: bytes) -> int:
    if upload.complete():
        return upload.size()
    asked = Mailbox(spool).bytes_asked_for()
    if asked is None:
        raise RequestError(problems.FORBIDDEN, "nothing was asked for", hint="outputs travel when they are asked for")
    there, _ = swept(spool / BLOBS, whole=False)
    if there + total - start > (asked or MAX_OF_NODE):
        got, wanted = f"{there + total - start} bytes in all", f"at most {asked or MAX_OF_NODE}"
        raise RequestError(problems.TOO_LARGE, "more than was asked for", got=got, wanted=wanted)
    check_room(spool, total - start)
    size = upload.append(start, data, so_far)
    if size == total:
        upload.finish()
    return size


def _part(path: Path, start: int) -> tuple[bytes, int]:
    """Return a part of an input, through the link that offers it, and how long the input is."""
    try:
        fd = careful.open_plain(os.readlink(path))
    except FileNotFoundError:
        raise RequestError(problems.NOT_FOUND, "this input is not offered to this node") from None
    except OSError as error:
        raise TryAgainError("the input cannot be read now", got=error.strerror) from error
    try:
        return os.pread(fd, PART, start), os.fstat(fd).st_size
    finally:
        os.close(fd)


def _spool(call: Call) -> Path:
    return call.service.paths.spool(call.caller.name)


async def _in_thread(act: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, act)


_PATH = "/v1/blobs/{digest}"
_BINARY = "application/octet-stream"
ROUTES = (
    Route(
        method="GET", path=_PATH, access=Access.NODE, handler=read_part, answers=_BINARY,
        summary="A part of an input that a node may read.",
        query=(Query("from", int, "The byte at which the part begins."),),
    ),
    Route(
        method="HEAD", path=_PATH, access=Access.NODE, handler=look, status=204,
        summary="How much of a file that a node sends is here.",
    ),
    Route(
        method="PATCH", path=_PATH, access=Access.NODE, handler=append, takes=memoryview, status=204, max_body=PART,
        media=(_BINARY,), summary="The next part of a file that the node was asked for.",
    ),
    Route(
        method="POST", path="/v1/blobs/missing", access=Access.NODE, handler=missing, takes=Have, answers=Missing,
        max_body=1 << 20, summary="Which of some files are not here.",
    ),
)  # fmt: skip
