"""The rosters that this coordinator trusts, one after the other: nodes follow them from version to version."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from nexapod_batch.coordinator.commands import roster_files
from nexapod_batch.server import problems
from nexapod_batch.server.calls import Access, Call, Query, Route
from nexapod_batch.server.problems import RequestError

__all__ = ["ROUTES"]

_DIGITS = 9


async def after(call: Call) -> Response:
    """Return the roster that follows a version.

    Raises:
        RequestError: There is none.

    """
    text = call.query.get("after", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise RequestError(problems.BAD_REQUEST, "after is no version", got=repr(text[:40]))
    home = call.service.paths.home
    data = await asyncio.get_running_loop().run_in_executor(None, roster_files.after, home, int(text))
    if data is None:
        raise RequestError(problems.NOT_FOUND, "there is no newer roster")
    return Response(data, media_type="application/json")


ROUTES = (
    Route(
        method="GET", path="/v1/roster", access=Access.ANYBODY, handler=after, answers="application/json",
        summary="The roster that follows a version: which coordinators nodes may follow, signed by its members.",
        query=(Query("after", int, "The version that is known; 0 for none."),), may_lack=True,
    ),
)  # fmt: skip
