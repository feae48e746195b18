"""Errors as HTTP tells them: problem documents of RFC 9457, with the words of the command line.

Each kind has an address of its own, below `/v1/problems/`, where the server says what it means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET, Struct, UnsetType
from msgspec import json as msgjson

from nexapod_batch.errors import NexapodError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "Fault", "Kind", "Problem", "RequestError", "answer_of", "problem_of"]

#: Where the kinds are explained.
BASE = "/v1/problems/"
#: Seconds after which it is worth trying again where nothing better is known.
_SOON_S = 2


class Kind(NamedTuple):
    """One kind of problem."""

    slug: str  # the last part of its address
    status: int
    title: str
    text: str  # what it means, and what to do


BAD_REQUEST = Kind("bad-request", 400, "The request was not understood", "Mend what `got` and `wanted` name.")
SIGN_IN = Kind("sign-in", 401, "Who is asking?", "Send `Authorization: Bearer nxp_...`; `token new` makes a token.")
FORBIDDEN = Kind("forbidden", 403, "Not with this token", "Ask an administrator for a token with a wider scope.")
NOT_FOUND = Kind("not-found", 404, "There is no such thing", "Or it is somebody else's, and not shown to you.")
METHOD = Kind("method", 405, "Not with this method", "`Allow` says which methods there are.")
CONFLICT = Kind("conflict", 409, "This contradicts what is there", "Send the same, or something under another name.")
TOO_LARGE = Kind("too-large", 413, "Too large", "`wanted` says how large it may be.")
MEDIA = Kind("media", 415, "Not in this form", "Send plain JSON (or TOML, where it says so), without compression.")
MISDIRECTED = Kind("misdirected", 421, "Another server is meant", "Use the URL that `serve` printed, or `--name`.")
DESCRIPTOR = Kind("descriptor", 422, "It cannot be used as it is", "`problems` lists every fault that was found.")
TOO_MANY = Kind("too-many", 429, "Too many requests", "Wait as long as `Retry-After` says.")
TOO_SLOW = Kind("too-slow", 408, "The request came too slowly", "Send it again, in one go.")
INTERNAL = Kind("internal", 500, "A fault of this server", "Its log says more; nothing is half done.")
UPSTREAM = Kind("upstream", 502, "Something that the server needs does not answer", "Try again later.")
UNAVAILABLE = Kind("unavailable", 503, "Not now", "Wait as long as `Retry-After` says, then send the same again.")

KINDS = (
    BAD_REQUEST, SIGN_IN, FORBIDDEN, NOT_FOUND, METHOD, TOO_SLOW, CONFLICT, TOO_LARGE, MEDIA, MISDIRECTED, DESCRIPTOR,
    TOO_MANY, INTERNAL, UPSTREAM, UNAVAILABLE,
)  # fmt: skip
_BY_STATUS = {kind.status: kind for kind in KINDS}


class Fault(Struct, frozen=True, kw_only=True):
    """One fault of a descriptor."""

    path: str
    message: str
    line: int | None = None


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str | UnsetType = UNSET  # the kind of error, as `--json` of the command line has it
    got: str | UnsetType = UNSET
    wanted: str | UnsetType = UNSET
    hint: str | UnsetType = UNSET
    problems: tuple[Fault, ...] = ()


class RequestError(NexapodError):
    """A request cannot be answered as it is."""

    def __init__(
        self,
        kind: Kind,
        what: str = "",
        *,
        got: object = None,
        wanted: object = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say what kind of problem it is; `headers` go out with it."""
        super().__init__(what or kind.title, got=got, wanted=wanted, hint=hint)
        self.kind = kind
        self.headers = dict(headers or {})


def problem_of(error: NexapodError) -> Problem:
    """Return what is told of an error."""
    kind = _kind(error)
    faults = tuple(Fault(path=one.path, message=one.message, line=one.line) for one in getattr(error, "problems", ()))
    return Problem(
        type=BASE + kind.slug, title=kind.title, status=kind.status, detail=error.what, code=_code(error),
        got=_text(error.got), wanted=_text(error.wanted), hint=_text(error.hint), problems=faults,
    )  # fmt: skip


def answer_of(error: NexapodError) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer to a request that failed."""
    kind = _kind(error)
    headers = {"content-type": "application/problem+json", "cache-control": "no-store"}
    if kind in {UNAVAILABLE, TOO_MANY, UPSTREAM}:
        headers["retry-after"] = str(_SOON_S)
    if kind == SIGN_IN:
        headers["www-authenticate"] = 'Bearer realm="nexapod-batch"'
    if isinstance(error, RequestError):
        headers.update(error.headers)
    return kind.status, headers, msgjson.encode(problem_of(error))


def _kind(error: NexapodError) -> Kind:
    if isinstance(error, RequestError):
        return error.kind
    return _BY_STATUS.get(error.http_status, INTERNAL)


def _code(error: NexapodError) -> str | UnsetType:
    if isinstance(error, RequestError):
        return error.kind.slug.replace("-", "_")
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _text(part: object) -> str | UnsetType:
    if part is None:
        return UNSET
    return str(part).encode("utf-8", "backslashreplace").decode()
