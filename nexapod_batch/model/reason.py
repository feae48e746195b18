"""Why something is as it is, as data: a code and its parameters. `wording` makes sentences of them.

A reason is stored as JSON, `{"code": "quorum.accepted", "parameters": {...}}`, and `--json` prints the same object.
Parameters are JSON values, or reasons again. Two reasons are the same if `same` says so: it compares what is stored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations of what it decodes
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from nexapod_batch.errors import DescriptorError, NexapodError
from nexapod_batch.model.reason_codes import Code

if TYPE_CHECKING:
    from nexapod_batch.errors import Problem

__all__ = ["Code", "Reason", "plain", "same"]

#: Characters that are kept of one part of an error, and its problems that are kept.
_MAX_TEXT, _MAX_PROBLEMS = 1_000, 20


class Reason(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A code with its parameters. `code` is one of `Code`, or one that a newer version or a plug-in wrote."""

    code: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def stored(self) -> str:
        """Return the JSON text that databases hold."""
        return msgspec.json.encode(self).decode()

    def document(self) -> dict[str, Any]:
        """Return the JSON object that `--json` prints; reasons in the parameters are objects of the same form."""
        parameters = msgspec.to_builtins(self.parameters)
        return {"code": self.code, "parameters": parameters}

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


    @classmethod
    def of_error(cls, error: Exception) -> Reason:
        """Return the reason that an error is: its parts, each shortened, as others may have chosen the words."""
        kind = type(error).__name__
        if isinstance(error, NexapodError):
            parts = {"what": error.what, "got": error.got, "wanted": error.wanted, "hint": error.hint}
            parameters: dict[str, Any] = {"kind": kind}
            parameters |= {name: plain(part) for name, part in parts.items() if part is not None}
            if isinstance(error, DescriptorError) and error.problems:
                parameters["problems"] = [_problem(problem) for problem in error.problems[:_MAX_PROBLEMS]]
            return cls(code=Code.ERROR, parameters=parameters)
        if isinstance(error, OSError) and error.strerror:
            parameters = {"kind": kind, "message": plain(error.strerror), "errno": error.errno}
            if error.filename is not None:
                parameters["path"] = plain(os.fsdecode(error.filename))
            return cls(code=Code.SYSTEM_ERROR, parameters=parameters)
        return cls(code=Code.ERROR, parameters={"kind": kind, "what": plain(error) or kind})


def plain(value: object) -> str:
    """Return the beginning of what a value says, as text that every encoding and every database takes."""
    return str(value)[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode()[:_MAX_TEXT]


def _problem(problem: Problem) -> dict[str, Any]:
    return {"path": plain(problem.path), "line": problem.line, "message": plain(problem.message)}


_DECODER = msgspec.json.Decoder(Reason)


def same(reason: Reason | None, other: Reason | None) -> bool:
    """Say whether two reasons are the same, whatever kinds of sequences and strings their parameters are made of."""
    if reason is None or other is None:
        return reason is other
    return _DECODER.decode(msgspec.json.encode(reason)) == _DECODER.decode(msgspec.json.encode(other))
