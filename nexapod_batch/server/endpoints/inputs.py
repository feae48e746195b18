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
from nexapod_batch.trust.nesting import quoted
from nexapod_batch.trust.statement_rules import is_hex

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ROUTES"]

_PATH, _BINARY = "/v1/inputs/{digest}", "application/octet-stream"


async def look(call: Call) -> Response:
    """Say how much of an input is here."""
    folder, digest = _folder(call), _digest(call)
    size, complete = await asyncio.to_thread(person_uploads.progress, folder, digest)
    return Response(status_code=204, headers=_progress(size, complete=complete))


async def append(call: Call) -> Response:
    """Append a part of an input, comparing its SHA-256 at the end; RequestError."""
    folder, digest = _folder(call), _digest(call)
    start, total = _number(call, "upload-offset"), _number(call, "upload-length")
    if start + len(call.body) > total or total > person_uploads.MOST:
        raise RequestError(problems.TOO_LARGE, "more than was announced, or than is taken", got=total)
    try:
        size = await asyncio.to_thread(person_uploads.append, folder, digest, start, call.body, total)
    except OffsetError as error:
        headers = _progress(error.size, complete=False)
        raise RequestError(problems.CONFLICT, error.what, got=start, wanted=error.size, headers=headers) from None
    except VerificationError as error:
        raise RequestError(problems.DESCRIPTOR, error.what, got=error.got, wanted=error.wanted) from None
    return Response(status_code=204, headers=_progress(size, complete=size == total))


def _folder(call: Call) -> Path:
    return person_uploads.folder_of(call.service.paths, call.caller.name)


def _progress(size: int, *, complete: bool) -> dict[str, str]:
    return {"upload-offset": str(size), "upload-complete": "?1" if complete else "?0", "cache-control": "no-store"}


def _digest(call: Call) -> str:
    digest = call.path["digest"]
    if not is_hex(digest, 64):
        raise RequestError(problems.BAD_REQUEST, "not a SHA-256", wanted="64 hex digits in lower case")
    return digest


def _number(call: Call, name: str) -> int:
    text = call.request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise RequestError(problems.BAD_REQUEST, f"{name} is no number of bytes", got=quoted(text))
    return int(text)


ROUTES = (
    Route(
        method="HEAD", path=_PATH, access=Access.SUBMIT, handler=look, status=204,
        summary="How much of an input is here, in Upload-Offset.",
    ),
    Route(
        method="PATCH", path=_PATH, access=Access.SUBMIT, handler=append, takes=bytes, status=204, max_body=PART,
        media=(_BINARY,), summary="The part of an input that begins at Upload-Offset, of Upload-Length bytes in all.",
    ),
)  # fmt: skip
