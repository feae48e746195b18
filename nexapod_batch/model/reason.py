"""Why something is as it is, as data: a code and its parameters. `wording` makes sentences of them.

A reason is stored as JSON, `{"code": "quorum.accepted", "parameters": {...}}`, and `--json` prints the same object.
Parameters are JSON values, or reasons again. Two reasons are the same if `same` says so: it compares what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations of what it decodes
from enum import StrEnum
from typing import Any, Self

import msgspec
from msgspec import Struct, field

__all__ = ["Code", "Reason", "same"]


class Code(StrEnum):
    """Every code that this program writes. Codes are never renamed: databases and scripts hold them."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Make a member that knows what it means, in one line."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    IMPORTED = "imported", "a sentence from a database of a version that kept no codes"
    TEXT = "text", "what somebody else wrote: a program, a plug-in, the system"

    ACCEPTED = "quorum.accepted", "enough distinct domains agree, and nothing that is out can change that"
    FAILED_ALIKE = "quorum.failed_alike", "enough distinct domains failed in the same way"
    TOO_MANY_ERRORS = "quorum.too_many_errors", "more replicas failed than max_errors allows"
    TOO_MANY_LOST = "quorum.too_many_lost", "more replicas were lost than max_lost allows"
    NO_DOMAIN_LEFT = "quorum.no_domain_left", "another replica is needed, and no node with unused domains is left"
    USED_UP = "quorum.used_up", "another replica is needed, and max_replicas is used up"
    UNDECIDED = "quorum.undecided", "replicas are out, or wanted"
    TIE = "quorum.tie", "two groups are equally large; part of another reason"
    TOO_FEW_AGREE = "quorum.too_few_agree", "no group of answers is large enough; part of another reason"
    DOUBTED = "quorum.doubted", "winners signed two different statements since, and too few are left"

    FROM_SITES = "independence.sites", "the winners ran on several sites"
    FROM_OWNERS = "independence.owners", "the winners ran on machines of several owners, on one site"
    FROM_MACHINES = "independence.machines", "the winners ran on several machines of one site and owner"
    FROM_ONE_MACHINE = "independence.one_machine", "the winners ran on one machine: reproducible there, not independent"
    UNREPEATED = "independence.unrepeated", "there is one winner: nobody repeated it"

    OTHER_CLASS = "vote.other_class", "a report without a vote: its numeric class is not the task's"
    TOO_LITTLE_ISOLATION = "vote.isolation", "a report without a vote: less isolation than the job asks for"
    HOST_UNCONFIRMED = "vote.host_unconfirmed", "a report without a vote: the scheduler does not confirm its host"

    CANCELLED = "task.cancelled", "its submitter cancelled it"
    RETRIED = "task.retried", "its submitter asked for another try"


class Reason(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A code with its parameters. `code` is a `Code`, or one that a newer version or a plug-in wrote."""

    code: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def stored(self) -> str:
        """Return the JSON text that databases hold."""
        return msgspec.json.encode(self).decode()

    def document(self) -> dict[str, Any]:
        """Return the JSON object that `--json` prints; reasons in the parameters are objects of the same form."""
        parameters = msgspec.to_builtins(self.parameters)
        return {"code": str(self.code), "parameters": parameters}

    @classmethod
    def parse(cls, text: str) -> Reason | None:
        """Return the reason that a database holds: None for "", which is none, and `text` for what is not JSON."""
        if not text:
            return None
        try:
            return _DECODER.decode(text)
        except msgspec.DecodeError:
            return cls.text(text)

    @classmethod
    def text(cls, text: str) -> Reason:
        """Return the reason that somebody else gave in words of their own."""
        return cls(code=Code.TEXT, parameters={"text": text})


_DECODER = msgspec.json.Decoder(Reason)


def same(one: Reason | None, other: Reason | None) -> bool:
    """Say whether two reasons are the same, whatever kinds of sequences and strings their parameters are made of."""
    if one is None or other is None:
        return one is other
    return _DECODER.decode(msgspec.json.encode(one)) == _DECODER.decode(msgspec.json.encode(other))
