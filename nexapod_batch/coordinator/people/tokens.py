"""Tokens of people: made, looked up, listed and revoked. Only their SHA-256 is stored; each is shown once.

A token is `nxp_SECRET` or `nxp_SECRET.PIN`. The secret has 256 bits, so that its plain hash tells nothing. The pin is
the SHA-256 of the server's TLS key: whoever holds the token can tell the right server from another one without any
certificate authority, before the secret leaves their machine. The server looks at the secret alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from enum import StrEnum
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.people import TokenRow

__all__ = ["Scope", "find", "is_token", "listed", "new", "revoke"]

_TOKEN = re.compile(r"nxp_([A-Za-z0-9_-]{43})(?:\.[A-Za-z0-9_-]{43})?")
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,62}")
_YEAR_MS = 366 * 86_400_000


class Scope(StrEnum):
    """What a token is good for."""

    SUBMIT = "submit"  # jobs of one's own
    OPERATE = "operate"  # jobs and nodes of all
    ADMIN = "admin"  # tokens, too
    JOIN = "join"  # to bring in a node, and nothing else

    def includes(self, other: Scope) -> bool:
        """Say whether this scope is at least as wide as another."""
        if Scope.JOIN in {self, other}:
            return self is other
        order = list(Scope)
        return order.index(self) >= order.index(other)


def is_token(text: str) -> bool:
    """Say whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.partition(".")[0].encode()).digest()


def new(
    c: Coordinator, person: str, scope: Scope, *, days: float | None, name: str = "", pin: str = "",
    replace: bool = False,
) -> str:  # fmt: skip
    """Make a token for a person, good for so many days, and return it: nobody can look it up later.

    `pin` is the SHA-256 of the server's TLS key in base64url, 43 characters; "" where others speak TLS for it. With
    `replace` the person's token of that name is revoked.

    Raises:
        UsageError: The name is none, or the time is.

    """
    if not _PERSON.fullmatch(person):
        raise UsageError("not a person's name", got=repr(person), wanted="letters, digits, _ . @ + and -, at most 63")
    if days is not None and not 0 < days * 86_400_000 <= 100 * _YEAR_MS:
        raise UsageError("a token's time", got=days, wanted="more than 0 days, at most 100 years")
    secret = "nxp_" + base64.urlsafe_b64encode(c.random(32)).decode().rstrip("=")
    now = c.now()
    expires = None if days is None else now + int(days * 86_400_000)
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        if replace:
            c.store.people.revoke_named(person=person, name=name, now=now)
        c.store.people.insert_token(
            hash=_hash(secret), person=person, name=name, scope=scope.value, now=now, expires=expires
        )
    return f"{secret}.{pin}" if pin else secret


def find(c: Coordinator, token: str) -> TokenRow | None:
    """Return what a token is good for; None for one that is unknown, expired or revoked."""
    return c.store.people.token(_hash(token), c.now())


def listed(c: Coordinator) -> list[TokenRow]:
    """Return every token that was made, the newest first."""
    return c.store.people.tokens()


def revoke(c: Coordinator, number: int) -> None:
    """Make a token good for nothing, at once.

    Raises:
        NotFoundError: There is no such token, or it was revoked before.

    """
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        if not c.store.people.revoke(number, c.now()):
            raise NotFoundError(f"there is no token {number} that is still good", hint="nexapod-batch token ls")
