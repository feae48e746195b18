"""The application: each request is looked at in the order of what it costs, and answered by the table of routes.

1. address: a bucket of requests, before anything else
2. the Host header must name this server (a page that a browser shows must not reach it under another name)
3. a token in the query string is refused: addresses end in logs
4. the route, or 404, or 405 with `Allow`
5. who asks
6. the body, with a cap and a deadline
7. the handler

A body that nobody read ends its connection: what follows in it would be read without end.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from nexapod_batch import log
from nexapod_batch.errors import NexapodError, TryAgainError
from nexapod_batch.server import bodies, openapi, problems, sign_in
from nexapod_batch.server.calls import Call
from nexapod_batch.server.limits import address_group
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

    from nexapod_batch.server.calls import Route
    from nexapod_batch.server.service import Service

__all__ = ["Application"]

_TOKEN_NAMES = frozenset({"token", "access_token", "api_key", "apikey", "authorization"})
#: Refusals that operators may want to see: who is not who they say, and who asks for too much.
_NOTED = frozenset({401, 403, 413, 421, 429, 431})
_SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


class Application:
    """The ASGI application of one server."""

    def __init__(self, service: Service, routes: Sequence[Route]) -> None:
        """Make a table of paths of the routes."""
        self.service = service
        service.describe = cache(lambda: openapi.document(routes))
        self._paths: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._paths.setdefault(route.path, {})[route.method] = route
        self._patterns = [(_compiled(path), methods) for path, methods in self._paths.items() if "{" in path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except NexapodError as error:
            response = self._refused(request, error)
        except OSError as error:
            response = self._refused(request, _of_system(error))
        except Exception as error:  # noqa: BLE001 - others are served all the same
            what = f"{type(error).__name__}: {error}"
            log.warning(__name__, "a request failed", path=quoted(scope["path"]), error=what)
            response = self._refused(request, RequestError(problems.INTERNAL))
        for name, value in _SAFE.items():
            response.headers.setdefault(name, value)
        self.service.counted(scope, response.status_code)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        service = self.service
        address = address_group(request.client.host if request.client else "")
        _wait(service.by_address.wait_s(address), "from this address")
        _check_host(request, service)
        _check_query(request)
        route, path = self._route(request)
        caller = await sign_in.caller_of(request, route, service, address)
        call = Call(request=request, route=route, service=service, caller=caller, path=path)
        if route.takes is not None:
            return _response(route, await _with_body(call))
        if bodies.has_body(request):
            raise RequestError(problems.BAD_REQUEST, f"{route.method} takes no body here")
        return _response(route, await route.handler(call))

    def _route(self, request: Request) -> tuple[Route, dict[str, str]]:
        path = request.scope["path"]
        methods, found = self._paths.get(path), dict[str, str]()
        if methods is None or "{" in path:
            for pattern, candidates in self._patterns:
                match = pattern.fullmatch(path)
                if match is not None:
                    methods, found = candidates, match.groupdict()
                    break
            else:
                hint = "/v1/openapi.json lists every path"
                raise RequestError(problems.NOT_FOUND, "there is no such path", got=quoted(path), hint=hint)
        method = "GET" if request.method == "HEAD" and "HEAD" not in methods else request.method
        if method not in methods:
            allowed = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
            raise RequestError(problems.METHOD, got=quoted(request.method), wanted=allowed, headers={"allow": allowed})
        return methods[method], found

    def _refused(self, request: Request, error: NexapodError) -> Response:
        status, headers, body = problems.answer_of(error)
        if status in _NOTED:
            address = request.client.host if request.client else ""
            self.service.refusals.note(address, request.method, request.scope["path"], problems.problem_of(error))
        if bodies.has_body(request):
            headers["connection"] = "close"
        return Response(body, status, headers)


async def _with_body(call: Call) -> Any:  # noqa: ANN401 - what handlers return
    """Return what the handler of a call makes of its body."""
    data = await bodies.read(call.request, call.route.max_body)
    call.body = _decoded(call.request, call.route, data)
    if call.route.takes is not memoryview:  # it was copied, and the handler may wait for long
        bodies.give_back(data)
        return await call.route.handler(call)
    answer = await call.route.handler(call)
    bodies.give_back(data)  # not after an error: a thread may be at it still
    return answer


def _compiled(path: str) -> re.Pattern[str]:
    """Return what matches a path with parts in braces."""
    pieces = re.split(r"(\{[a-z0-9_]+(?::path)?\})", path)
    made = []
    for piece in pieces:
        if not piece.startswith("{"):
            made.append(re.escape(piece))
            continue
        name, _, kind = piece[1:-1].partition(":")
        what = ".+" if kind == "path" else "[^/]+"
        made.append(f"(?P<{name}>{what})")
    return re.compile("".join(made), re.DOTALL)


def _wait(seconds: float, why: str) -> None:
    """Refuse what comes too often."""
    if seconds > 0:
        headers = {"retry-after": str(max(1, round(seconds + 0.5)))}
        raise RequestError(problems.TOO_MANY, f"too many requests {why}", headers=headers)


def _check_host(request: Request, service: Service) -> None:
    values = [value for name, value in request.scope["headers"] if name == b"host"]
    host = values[0].decode("latin-1") if len(values) == 1 else ""
    if not service.names.is_ours(host):
        got = quoted(host) if host else f"{len(values)} Host headers"
        raise RequestError(problems.MISDIRECTED, "this server has another name", got=got, wanted=service.names.shown)


def _check_query(request: Request) -> None:
    if len(request.scope["query_string"]) and not _TOKEN_NAMES.isdisjoint(
        name.lower() for name in request.query_params
    ):
        wanted = "the header Authorization: Bearer ..."
        raise RequestError(problems.BAD_REQUEST, "a token in the address would end in logs", wanted=wanted)


def _decoded(request: Request, route: Route, data: memoryview) -> Any:  # noqa: ANN401 - what the route says
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media not in route.media:
        raise RequestError(problems.MEDIA, got=quoted(media), wanted=" or ".join(route.media))
    if route.takes is memoryview:
        return data
    return _made(route.takes, bytes(data))


def _made(kind: type[Any] | None, data: bytes) -> Any:  # noqa: ANN401 - what the route says
    if kind is bytes:
        return data
    return bodies.struct_of(bodies.json_value(data), kind) if kind else None


def _response(route: Route, answer: Any) -> Response:  # noqa: ANN401 - what handlers return
    if isinstance(answer, Response):
        return answer
    body = msgspec.json.encode(answer)
    headers = {"cache-control": "no-store"}
    return Response(body, route.status, headers, media_type="application/json")


def _of_system(error: OSError) -> NexapodError:
    """Return what is told of a fault of the operating system: a full disk is no fault of whoever asks."""
    from nexapod_batch.files.atomic import FULL  # noqa: PLC0415

    log.warning(__name__, "a request failed", error=str(error))
    if error.errno in FULL:
        return TryAgainError("the server's disk is full", hint="its operator must make room")
    return RequestError(problems.INTERNAL)
