"""Bodies of requests: read with a cap and a deadline, and decoded without guessing.

Refused: compressed bodies (a few bytes may stand for gigabytes), JSON with a key twice in one object, with NaN or
infinite numbers, with half a surrogate pair, nested more than 64 deep, or in another encoding than UTF-8.
"""

from __future__ import annotations

import asyncio
import json
import math
import mmap
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from starlette.requests import ClientDisconnect

from nexapod_batch.server import problems
from nexapod_batch.server.problems import RequestError
from nexapod_batch.server.scope_names import PLACE
from nexapod_batch.trust import nesting

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import Message

__all__ = ["Arriving", "give_back", "has_body", "json_value", "read", "struct_of"]

#: Bytes of a small body; of a place for larger ones, which is used again; and how many of those wait for that.
_SMALL, _PLACE, _SPARE = 64 << 10, 4 << 20, 2

#: Seconds that a whole small body may take, and bytes that each further second of a larger one must bring.
PATIENCE_S, _SLOWEST = 20.0, 16 * 1024
_spare: list[mmap.mmap] = []


def has_body(request: Request) -> bool:
    """Say whether a request announces a body."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class Arriving:
    """The body of a request, put together in one place as it arrives."""

    def __init__(self, room: int) -> None:
        """Make a place for so many bytes: what is large costs memory as it fills."""
        self._place = memoryview(_large(room) if room > _SMALL else bytearray(room))[:room]
        self.size = 0  # bytes that came, even where there was no room for them

    def fits(self, piece: bytes) -> bool:
        """Say whether there is room for a piece."""
        return self.size + len(piece) <= len(self._place)

    def take(self, piece: bytes) -> None:
        """Append a piece, or count it where there is no room."""
        end = self.size + len(piece)
        if self.fits(piece):
            self._place[self.size : end] = piece
        self.size = end

    def data(self) -> memoryview:
        """Return what came."""
        return self._place[: self.size]


async def read(request: Request, max_bytes: int, patience_s: float = PATIENCE_S) -> memoryview:
    """Return the whole body; RequestError for one that is compressed, larger, or too slow.

    Raises:
        ClientDisconnect: whoever sent it has left.

    """
    body = Arriving(_announced(request, max_bytes))
    request.scope[PLACE] = body
    loop = asyncio.get_running_loop()
    begun = loop.time()
    more = True
    try:
        while more:
            left = patience_s + body.size / _SLOWEST - (loop.time() - begun)
            if left <= 0:
                raise RequestError(problems.TOO_SLOW, got=f"{body.size} bytes in {loop.time() - begun:.0f} s")
            message: Message = {}
            with suppress(TimeoutError):  # the connection may have filled the place meanwhile
                async with asyncio.timeout(left):
                    message = await request.receive()
            if message.get("type") == "http.disconnect":
                raise ClientDisconnect
            body.take(message.get("body", b""))
            if body.size > max_bytes:
                raise RequestError(problems.TOO_LARGE, "the body is too large", wanted=f"at most {max_bytes} bytes")
            more = not message or message.get("more_body", False)
    finally:
        del request.scope[PLACE]
    return body.data()


def give_back(data: memoryview) -> None:
    """Let the place of a body be used for another one: nobody may look at it any more."""
    place = data.obj
    data.release()
    if isinstance(place, mmap.mmap) and len(place) == _PLACE and len(_spare) < _SPARE:
        _spare.append(place)


def _large(room: int) -> mmap.mmap:
    if room <= _PLACE and _spare:
        return _spare.pop()
    return mmap.mmap(-1, max(room, _PLACE), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _announced(request: Request, max_bytes: int) -> int:
    """Return how many bytes a body may have: as many as it says, or as are taken."""
    for name, plain in (("content-encoding", {"", "identity"}), ("transfer-encoding", {"", "chunked"})):
        encoding = request.headers.get(name, "").strip().lower()
        if encoding in plain:
            continue
        raise RequestError(problems.MEDIA, "the body is compressed", got=nesting.quoted(encoding), wanted="identity")
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return max_bytes
    if int(length[:20]) > max_bytes:
        raise RequestError(
            problems.TOO_LARGE, "the body is too large", got=f"{length[:20]} bytes", wanted=f"at most {max_bytes} bytes"
        )
    return int(length[:20])


def json_value(data: bytes, number: Callable[[str], float] = float) -> Any:  # noqa: ANN401 - whatever JSON spells
    """Return the value of a JSON body; RequestError for what is refused above. `number` makes those with a fraction."""
    if not nesting.depth_within(data):
        raise RequestError(problems.BAD_REQUEST, "the JSON is nested too deeply", wanted=f"{nesting.MAX_DEPTH} levels")
    try:
        value = _decoder(number).decode(data.decode("utf-8"))
        if b"\\u" in data:
            orjson.dumps(value)  # refuses half a surrogate pair, which is no text
    except RequestError:
        raise
    except (ValueError, RecursionError, TypeError) as error:
        raise RequestError(problems.BAD_REQUEST, "the body is not valid JSON", got=str(error)[:200]) from None
    return value


@cache
def _decoder(number: Callable[[str], float]) -> json.JSONDecoder:
    def finite(text: str) -> float:
        made = number(text)
        if not math.isfinite(made):
            raise ValueError("a number is too large")
        return made

    return json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_float=finite)


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
