"""Errors as data: what `--json` prints on stdout when a command fails, beside the message on stderr."""

from __future__ import annotations

import re
from typing import Any

import click

from nexapod_batch.errors import NexapodError

__all__ = ["error_document", "print_error", "wants_json"]


def wants_json(arguments: list[str]) -> bool:
    """Say whether `--json` was asked for: what follows `--` belongs to a job."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--json" in arguments[:end]


def error_document(error: BaseException, exit_code: int) -> dict[str, Any]:
    """Return `{"schema", "error": {"code", "message", "got", "wanted", "hint", "exit_code", "problems"}}`.

    `code` names the kind: `not_found`, `descriptor`, `usage`, `system` for what the operating system said, `internal`
    for a fault of this program. What is not known is null.
    """
    found: dict[str, Any] = {
        "code": _code(error), "message": str(error), "got": None, "wanted": None, "hint": None, "exit_code": exit_code,
        "problems": [],
    }  # fmt: skip
    if isinstance(error, NexapodError):
        found["message"] = error.what
        found["got"] = None if error.got is None else str(error.got)
        found["wanted"] = None if error.wanted is None else str(error.wanted)
        found["hint"] = error.hint
        problems = getattr(error, "problems", ())
        found["problems"] = [
            {"path": problem.path, "line": problem.line, "message": problem.message}
            for problem in problems
        ]
    elif isinstance(error, click.ClickException):
        found["message"] = error.format_message()
    return {"schema": 1, "error": found}


def print_error(error: BaseException, exit_code: int) -> None:
    """Print the object on stdout."""
    import json

    click.echo(json.dumps(error_document(error, exit_code)))


def _code(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return "usage"
    if isinstance(error, OSError):
        return "system"
    if not isinstance(error, NexapodError):
        return "internal"
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
