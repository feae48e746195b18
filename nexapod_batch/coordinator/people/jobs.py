"""Whose a job is, and which one somebody means.

Jobs are private: a person sees their own, whoever operates the coordinator all of them. What is not theirs is told as
what is not there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.errors import NotFoundError

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["OWN_ID", "find", "key_of_own_id"]

#: An id that a submitter chose; one of digits alone would be taken for a number of ours.
OWN_ID = re.compile(r"(?!\d+$)[A-Za-z0-9][A-Za-z0-9._+=@:-]{0,127}")
_NUMBER = re.compile(r"[1-9]\d{0,17}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def key_of_own_id(own_id: str) -> str:
    """Return under which key a submission with an id of the submitter's choice is kept."""
    return f"id:{own_id}"


def find(c: Coordinator, name: str, person: str, *, sees_all: bool) -> int:
    """Return the number of the job that a person means by a number, a UUID or an id of their own.

    Raises:
        NotFoundError: There is none, or it is somebody else's.

    """
    number = _named(c, name, person)
    row = c.store.jobs.find(number) if number is not None else None
    if row is None or not (sees_all or row.user == person):
        raise NotFoundError("there is no such job", got=repr(name[:80]), hint="GET /v1/jobs lists yours")
    return row.id


def _named(c: Coordinator, name: str, person: str) -> int | None:
    if _NUMBER.fullmatch(name):
        return int(name)
    if _UUID.fullmatch(name):
        return c.store.views.job_of_uuid(name)
    if OWN_ID.fullmatch(name):
        sent = c.store.people.sent(person, key_of_own_id(name))
        return None if sent is None else sent.job_id
    return None
