"""The nouns of the server: who may call what (`Route`), who does (`Caller`), and one call (`Call`)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from nexapod_batch.server.service import Service

__all__ = ["Access", "Call", "Caller", "Query", "Route"]

#: Bytes of a body where a route says nothing else.
_SMALL = 64 * 1024


class Access(StrEnum):
    """Who may call a route."""

    ANYBODY = "anybody"
    PUBLIC = "public"  # anybody where the operator said `--public`, else whoever has a token
    SUBMIT = "submit"  # a person
    OPERATE = "operate"  # a person who looks after jobs and nodes of all
    ADMIN = "admin"  # a person who makes tokens
    NODE = "node"  # a node that joined, by its signature
    KEY = "key"  # whoever signs with the key that the body names


class Query(Struct, frozen=True):
    """A parameter of the query string."""

    name: str
    kind: type[Any]
    text: str


class Route(Struct, frozen=True, kw_only=True):
    """A method on a path."""

    method: str
    path: str  # `{name}` is one part of the path, `{name:path}` the rest of it
    access: Access
    handler: Callable[[Call], Awaitable[Any]]
    summary: str
    #: None: no body; `bytes`: as it came; `memoryview`: likewise, until the handler returns; else what JSON becomes.
    takes: type[Any] | None = None
    answers: Any = None  # a struct, or the media type of a body that is none
    status: int = 200
    max_body: int = _SMALL
    query: tuple[Query, ...] = ()
    media: tuple[str, ...] = ("application/json",)  # of the body that comes in
    may_lack: bool = False  # 404 is an answer, although its path names nothing


class Caller(Struct, frozen=True, kw_only=True):
    """Who calls."""

    kind: str  # `nobody`, `person`, or what `sign_in.BY_ACCESS` makes of others
    name: str = ""
    scope: str = ""
    token: int = 0


class Call(Struct, kw_only=True):
    """One request, as a handler sees it."""

    request: Request
    route: Route
    service: Service
    caller: Caller
    path: dict[str, str]
    body: Any = None

    @property
    def query(self) -> dict[str, str]:
        """The query string; of a name that stands twice the last counts."""
        return dict(self.request.query_params)

    def let_go(self) -> None:
        """Let go of what came with the request: it is understood, and the answer may be long in coming."""
        self.body = None
        self.request.scope["headers"].clear()

    async def gone(self) -> None:
        """Return when whoever asks has left: to be waited for beside the event that a long poll waits for."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass
