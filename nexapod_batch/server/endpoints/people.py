"""Tokens of people, for administrators; and who somebody is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.coordinator.people import quotas, tokens
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.server.calls import Access, Call, Route
from nexapod_batch.server.local_word import pin_in_use
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from nexapod_batch.store.repositories.people import TokenRow

__all__ = ["ROUTES"]


class NewToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token is to be good for."""

    person: str
    scope: str = "submit"
    days: float | None = 90.0
    name: str = ""


class TokenMade(Struct, frozen=True, kw_only=True):
    """A token that was made: it is shown this once."""

    token: str


class TokenShown(Struct, frozen=True, kw_only=True):
    """A token, without its secret."""

    id: int
    person: str
    name: str
    scope: str
    created: str
    expires: str | None
    revoked: str | None


class Tokens(Struct, frozen=True, kw_only=True):
    """Every token that was made."""

    items: list[TokenShown]
    next: str | None = None


class Me(Struct, frozen=True, kw_only=True):
    """Who asks."""

    person: str
    scope: str


class QuotaShown(Struct, frozen=True, kw_only=True):
    """How much of something a person has, and may have."""

    person: str
    what: str  # jobs and tasks that have not ended, core_hours of 30 days and of open jobs, bytes of results
    used: float
    most: float | None  # null: no bound
    left: float | None


class Quotas(Struct, frozen=True, kw_only=True):
    """What a person has, and may have."""

    items: list[QuotaShown]
    next: str | None = None


async def me(call: Call) -> Me:
    """Say who asks."""
    return Me(person=call.caller.name, scope=call.caller.scope)


async def quota(call: Call) -> Quotas:
    """Say what whoever asks may have, and has."""
    usual = call.service.options.quota
    found = await call.service.make(lambda c: quotas.standing(c, call.caller.name, usual))
    return Quotas(items=[QuotaShown(**row) for row in found.rows()])


async def listing(call: Call) -> Tokens:
    """Return every token."""
    rows = await call.service.read(tokens.listed)
    return Tokens(items=[_shown(row) for row in rows])


async def make(call: Call) -> TokenMade:
    """Make a token; UsageError for a scope that is none."""
    wish: NewToken = call.body
    if wish.scope not in set(tokens.Scope):
        raise UsageError("a token's scope", got=quoted(wish.scope), wanted=", ".join(tokens.Scope))
    pin, scope = pin_in_use(call.service.paths), tokens.Scope(wish.scope)
    made = await call.service.write(
        lambda c: tokens.new(c, wish.person, scope, days=wish.days, name=wish.name[:200], pin=pin)
    )
    return TokenMade(token=made)


async def revoke(call: Call) -> Tokens:
    """Revoke a token; NotFoundError where there is none."""
    text = call.path["token"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFoundError("there is no such token", got=quoted(text), hint="GET /v1/tokens lists them")
    await call.service.write(lambda c: tokens.revoke(c, int(text)))
    return await listing(call)


def _shown(row: TokenRow) -> TokenShown:
    return TokenShown(
        id=row.id, person=row.person, name=row.name, scope=row.scope, created=_time(row.created_at) or "",
        expires=_time(row.expires_at), revoked=_time(row.revoked_at),
    )  # fmt: skip


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds // 1000))


ROUTES = (
    Route(
        method="GET", path="/v1/me", access=Access.SUBMIT, handler=me, answers=Me,
        summary="Who you are, and what your token is good for.",
    ),
    Route(
        method="GET", path="/v1/quota", access=Access.SUBMIT, handler=quota, answers=Quotas,
        summary="What you may have, what you have, and what is left.",
    ),
    Route(
        method="GET", path="/v1/tokens", access=Access.ADMIN, handler=listing, answers=Tokens,
        summary="Every token that was made, the newest first; nobody can see their secrets.",
    ),
    Route(
        method="POST", path="/v1/tokens", access=Access.ADMIN, handler=make, takes=NewToken, answers=TokenMade,
        status=201, summary="Make a token for a person; it is shown this once.",
    ),
    Route(
        method="DELETE", path="/v1/tokens/{token}", access=Access.ADMIN, handler=revoke, answers=Tokens,
        summary="Make a token good for nothing, at once.",
    ),
)  # fmt: skip
