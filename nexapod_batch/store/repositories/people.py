"""People who use the coordinator from elsewhere: hashes of their tokens, and what they sent already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from nexapod_batch.store.database import Database

__all__ = ["OwnerRow", "People", "QuotaRow", "SentRow", "TokenRow"]


class TokenRow(Row, frozen=True):
    """A token, without its secret."""

    id: int
    person: str
    name: str
    scope: str
    created_at: int  # milliseconds since 1970
    expires_at: int | None
    revoked_at: int | None


class SentRow(Row, frozen=True):
    """A submission that was taken under a key of the sender's choice."""

    digest: bytes  # SHA-256 of the body
    job_id: int


class QuotaRow(Row, frozen=True):
    """What was set for a person; None: as usual."""

    person: str
    jobs: int | None
    tasks: int | None
    core_hours: float | None
    bytes: int | None


class OwnerRow(Row, frozen=True):
    """A person or lab that answers for nodes."""

    name: str
    state: str  # waits, approved, suspended
    since: int  # milliseconds since 1970
    by: str  # who said so


class People:
    """Tokens and submissions of people."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "people")

    def insert_token(
        self, *, hash: bytes, person: str, name: str, scope: str, now: int, expires: int | None  # noqa: A002
    ) -> None:
        """Keep a new token by its SHA-256."""
        self._sql.run("token_insert", hash=hash, person=person, name=name, scope=scope, now=now, expires=expires)

    def token(self, hash: bytes, now: int) -> TokenRow | None:  # noqa: A002
        """Return the token of a hash, if it is good at a time (ms)."""
        return self._sql.find(TokenRow, "token_find", hash=hash, now=now)

    def tokens(self) -> list[TokenRow]:
        """Return all tokens, the newest first."""
        return self._sql.all(TokenRow, "token_all")

    def revoke(self, number: int, now: int) -> bool:
        """Make a token good for nothing; say whether it was good for something."""
        return self._sql.run("token_revoke", id=number, now=now) > 0

    def revoke_named(self, *, person: str, name: str, now: int) -> int:
        """Make the tokens of a name good for nothing; return how many there were."""
        return self._sql.run("token_revoke_named", person=person, name=name, now=now)

    def open_of(self, user: str) -> tuple[int, int]:
        """Return how many jobs of a user have not ended, and how many of their tasks."""
        (found,) = self._sql.tuples("open_of", user=user)
        return found[0], found[1]

    def quota(self, person: str) -> QuotaRow | None:
        """Return what was set for a person."""
        return self._sql.find(QuotaRow, "quota_find", person=person)

    def people(self) -> list[str]:
        """Return everybody who has a token or a quota, by name."""
        return self._sql.values(str, "quota_all")

    def put_quota(
        self, *, person: str, jobs: int | None, tasks: int | None, core_hours: float | None, stored: int | None
    ) -> None:
        """Set what a person may have; None leaves a value as it is."""
        self._sql.run("quota_put", person=person, jobs=jobs, tasks=tasks, core_hours=core_hours, stored=stored)

    def remove_quota(self, person: str) -> None:
        """Forget what was set for a person."""
        self._sql.run("quota_remove", person=person)

    def core_ms_of(self, user: str, since: int) -> tuple[float, float]:
        """Return the core-milliseconds that a user's jobs took since a time, and those that open ones may take yet."""
        (found,) = self._sql.tuples("core_ms_of", user=user, since=since)
        return found[0], found[1]

    def bytes_of(self, user: str) -> int:
        """Return the bytes of a user's published results."""
        return self._sql.value(int, "bytes_of", user=user) or 0

    def sent(self, person: str, key: str) -> SentRow | None:
        """Return what a person sent under a key."""
        return self._sql.find(SentRow, "sent_find", person=person, key=key)

    def insert_sent(self, *, person: str, key: str, digest: bytes, job: int, now: int) -> None:
        """Keep which job a submission became."""
        self._sql.run("sent_insert", person=person, key=key, digest=digest, job=job, now=now)

    def owners(self) -> list[OwnerRow]:
        """Return the owners of whom something was said, by name."""
        return self._sql.all(OwnerRow, "owners")

    def owner(self, name: str) -> OwnerRow | None:
        """Return what was said of an owner last."""
        return self._sql.find(OwnerRow, "owner_find", name=name)

    def put_owner(self, *, name: str, state: str, by: str, now: int) -> None:
        """Keep whether the nodes of an owner get work."""
        self._sql.run("owner_put", name=name, state=state, by=by, now=now)
