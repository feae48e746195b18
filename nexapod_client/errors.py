"""What can go wrong between a client and a coordinator: one root, and what the server said in its own words."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ConflictError", "NexaPodError", "NotFoundError", "SignInError", "UnreachableError", "UntrustedServerError",
    "WaitTimeoutError", "error_of",
]  # fmt: skip


class NexaPodError(Exception):
    """A request was refused, or could not be made.

    `status` is the HTTP status (0 where there was none), `got`, `wanted` and `hint` are the server's words, `problems`
    lists the faults of a descriptor.
    """

    status = 0

    def __init__(self, detail: str, *, status: int = 0, problem: dict[str, Any] | None = None) -> None:
        """Keep what the server said."""
        self.detail = detail
        self.status = status or type(self).status
        self.problem = problem or {}
        self.got, self.wanted = self.problem.get("got"), self.problem.get("wanted")
        self.hint = self.problem.get("hint")
        self.problems: list[dict[str, Any]] = self.problem.get("problems") or []
        super().__init__(detail)

    def __str__(self) -> str:
        """Return everything that is known, one line for each fault of a descriptor."""
        parts = [f"{word} {part}" for word, part in (("got", self.got), ("wanted", self.wanted)) if part]
        text = self.detail + (f": {', '.join(parts)}" if parts else "")
        lines = [text, *("  " + _sentence(one) for one in self.problems)]
        if self.hint:
            lines.append(f"  -> {self.hint}")
        return "\n".join(lines)


def _sentence(problem: dict[str, Any]) -> str:
    """Return a fault of a descriptor, after where it is."""
    path, message = problem.get("path"), str(problem.get("message", ""))
    return f"{path}: {message}" if path else message


class SignInError(NexaPodError):
    """The token is missing, unknown, expired, or not good for this."""


class NotFoundError(NexaPodError):
    """There is no such thing, or it is somebody else's."""


class ConflictError(NexaPodError):
    """This contradicts what is there: the nodes cannot form the quorum, or an id is taken."""


class UnreachableError(NexaPodError):
    """No server answers."""


class UntrustedServerError(NexaPodError):
    """A server answers, but it is not the one that is meant; nothing was sent to it."""


class WaitTimeoutError(NexaPodError, TimeoutError):
    """A job did not end in time; it goes on."""


_BY_STATUS = {401: SignInError, 403: SignInError, 404: NotFoundError, 409: ConflictError}


def error_of(status: int, problem: dict[str, Any]) -> NexaPodError:
    """Return the error of an answer."""
    detail = str(problem.get("detail") or problem.get("title") or f"the server answered with status {status}")
    return _BY_STATUS.get(status, NexaPodError)(detail, status=status, problem=problem)
