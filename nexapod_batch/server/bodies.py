"""Bodies of requests: read with a cap and a deadline, and decoded without guessing.

Refused: compressed bodies (a few bytes may stand for gigabytes), JSON with a key twice in one object, with NaN or
infinite numbers, with half a surrogate pair, nested more than 64 deep, or in another encoding than UTF-8.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from starlette.requests import ClientDisconnect

from nexapod_batch.server import problems
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust import nesting

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

__all__ = ["has_body", "json_value", "read", "struct_of"]

#: Seconds that a whole small body may take, and bytes that each further second of a larger one must bring.
PATIENCE_S, _SLOWEST = 20.0, 16 * 1024


def has_body(request: Request) -> bool:
    """Say whether a request announces a body."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def read(request: Request, max_bytes: int, patience_s: float = PATIENCE_S) -> bytes:
    """Return the whole body; RequestError for one that is compressed, larger, or too slow.

    Raises:
        ClientDisconnect: whoever sent it has left.

    """
    _check_announced(request, max_bytes)
    parts: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while True:
        left = patience_s + size / _SLOWEST - (loop.time() - begun)
        try:
            message = await asyncio.wait_for(request.receive(), max(0.0, left))
        except TimeoutError:
            raise RequestError(problems.TOO_SLOW, got=f"{size} bytes in {loop.time() - begun:.0f} s") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise RequestError(problems.TOO_LARGE, "the body is too large", wanted=f"at most {max_bytes} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _check_announced(request: Request, max_bytes: int) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise RequestError(problems.MEDIA, "the body is compressed", got=nesting.quoted(encoding), wanted="identity")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > max_bytes:
        raise RequestError(
            problems.TOO_LARGE, "the body is too large", got=f"{length[:20]} bytes", wanted=f"at most {max_bytes} bytes"
        )


def json_value(data: bytes, number: Callable[[str], float] = float) -> Any:  # noqa: ANN401 - whatever JSON spells
    """Return the value of a JSON body; RequestError for what is refused above. `number` makes those with a fraction."""

    def finite(text: str) -> float:
        made = number(text)
        if not math.isfinite(made):
            raise ValueError("a number is too large")
        return made

    if not nesting.depth_within(data):
        raise RequestError(problems.BAD_REQUEST, "the JSON is nested too deeply", wanted=f"{nesting.MAX_DEPTH} levels")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=finite
        )
        if b"\\u" in data:
            orjson.dumps(value)  # refuses half a surrogate pair, which is no text
    except RequestError:
        raise
    except (ValueError, RecursionError, TypeError) as error:
        raise RequestError(problems.BAD_REQUEST, "the body is not valid JSON", got=str(error)[:200]) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(problems.BAD_REQUEST, "a key stands twice in one JSON object", got=nesting.quoted(twice))
    return made


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def struct_of(value: object, kind: type[Any]) -> Any:  # noqa: ANN401 - a `kind`
    """Return a JSON value as a struct; RequestError where it is not one."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RequestError(problems.BAD_REQUEST, "the body is not as it must be", got=str(error)[:300]) from None
