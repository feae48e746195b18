"""ETags: what is named by its digest never changes, and is not sent to who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from nexapod_batch.server.calls import Call

__all__ = ["IMMUTABLE", "has_it", "unchanged"]

#: For what can be kept for good by who may see it.
IMMUTABLE = "private, max-age=31536000, immutable"


def has_it(call: Call, digest: str) -> bool:
    """Say whether whoever asks has what a digest names, by If-None-Match (RFC 9110, 13.1.2)."""
    given = call.request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return not tags.isdisjoint({"*", f'"{digest}"'})


def unchanged(digest: str, cache_control: str = "private, no-cache") -> Response:
    """Return the answer to who has it."""
    return Response(status_code=304, headers={"etag": f'"{digest}"', "cache-control": cache_control})
