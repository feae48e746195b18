"""Inputs that are too large to travel with a submission: sent before it, in parts; `files` names their SHA-256."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh.blobs import PART, OffsetError
from nexapod_batch.server import person_uploads, problems
from nexapod_batch.server.calls import Access, Call, Route
from nexapod_batch.server.problems import RequestError
from nexapod_batch.server.uploads import digest_of, number_of_bytes, progress_headers

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ROUTES"]

_PATH, _BINARY = "/v1/inputs/{digest}", "application/octet-stream"


async def look(call: Call) -> Response:
    """Say how much of an input is here."""
    folder, digest = _folder(call), digest_of(call)
    size, complete = await asyncio.to_thread(person_uploads.progress, folder, digest)
    return Response(status_code=204, headers=progress_headers(size, complete=complete))


async def append(call: Call) -> Response:
    """Append a part of an input, comparing its SHA-256 at the end; RequestError."""
    folder, digest = _folder(call), digest_of(call)
    headers = call.request.headers
    start, total = (number_of_bytes(headers.get(name, ""), name) for name in ("upload-offset", "upload-length"))
    if start + len(call.body) > total or total > person_uploads.MOST:
        raise RequestError(problems.TOO_LARGE, "more than was announced, or than is taken", got=total)
    try:
        size = await asyncio.to_thread(person_uploads.append, folder, digest, start, call.body, total)
    except OffsetError as error:
        there = progress_headers(error.size, complete=False)
        raise RequestError(problems.CONFLICT, error.what, got=start, wanted=error.size, headers=there) from None
    except VerificationError as error:
        raise RequestError(problems.DESCRIPTOR, error.what, got=error.got, wanted=error.wanted) from None
    return Response(status_code=204, headers=progress_headers(size, complete=size == total))


def _folder(call: Call) -> Path:
    return person_uploads.folder_of(call.service.paths, call.caller.name)


ROUTES = (
    Route(
        method="HEAD", path=_PATH, access=Access.SUBMIT, handler=look, status=204,
        summary="How much of an input is here, in Upload-Offset.",
    ),
    Route(
        method="PATCH", path=_PATH, access=Access.SUBMIT, handler=append, takes=memoryview, status=204, max_body=PART,
        media=(_BINARY,), summary="The part of an input that begins at Upload-Offset, of Upload-Length bytes in all.",
    ),
)  # fmt: skip
