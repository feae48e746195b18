"""What a backend may answer: each answer is checked whole where it comes in, and bounded. Pure.

A wrong answer would raise later, where nobody knows whose it was, or lie in the database for good. What is wrong is a
`WrongAnswerError`, in words for the author of the backend.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from nexapod_batch.plugins import BackendState, Finding, LaunchStatus, Mark

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WrongAnswerError", "checked", "finding"]

_REASON = 4_000  # characters of a reason, or of a finding, that are kept
_NATIVE = 500  # characters of a scheduler's own word or id
_SHOWN = 4_000_000  # characters of a script or a site file


class WrongAnswerError(Exception):
    """An answer that the port does not allow."""


def checked(method: str, given: tuple[Any, ...], answer: object) -> Any:  # noqa: ANN401 - as the method has it
    """Return what a method answered to the arguments `given`; WrongAnswerError where the port does not allow it."""
    if isinstance(answer, Coroutine):
        answer.close()  # nobody waits for it, and Python would say so on stderr
        raise _not(answer, "an answer: it is asynchronous")
    check = _CHECKS.get(method)
    if check is not None:
        return check(answer, given)
    if answer is not None:
        raise _not(answer, "None")
    return None


def finding(value: object) -> Finding:
    """Return a finding of `probe`; WrongAnswerError for anything else."""
    if not isinstance(value, Finding) or not _is(value.mark, Mark):
        raise _not(value, "Finding")
    if not _is(value.stops, bool) or not _is(value.unreachable, bool):
        raise _not(value, "a Finding whose `stops` and `unreachable` are true or false")
    return replace(
        value, probe=_text(value.probe, _NATIVE), text=_text(value.text, _SHOWN), hint=_text(value.hint, _REASON)
    )


def _launched(answer: object, given: tuple[Any, ...]) -> dict[str, str | LaunchStatus]:
    found: dict[str, str | LaunchStatus] = {}
    for key, value in _mapping(answer, [one.key for one in given[1]]).items():
        if isinstance(value, str):
            found[key] = _text(value, _NATIVE)
        else:
            found[key] = _status_of(value, "str or LaunchStatus")
    return found


def _status(answer: object, given: tuple[Any, ...]) -> dict[str, LaunchStatus]:
    return {key: _status_of(value, "LaunchStatus") for key, value in _mapping(answer, given[1]).items()}


def _status_of(value: object, wanted: str) -> LaunchStatus:
    if not isinstance(value, LaunchStatus):
        raise _not(value, wanted, "for a launch")
    if not _is(value.state, BackendState):
        raise _not(value.state, "BackendState", "for the state of a launch")
    if not _is(value.task_fault, bool) or not _is(value.anew, bool):
        raise WrongAnswerError("it returned a LaunchStatus whose `task_fault` or `anew` is neither true nor false")
    hosts = value.hosts
    if hosts is not None and not (_is(hosts, tuple) and all(_is(host, str) for host in hosts)):
        raise _not(hosts, "a tuple of str, or None", "for the hosts of a launch")
    clean = replace(
        value,
        reason=_text(value.reason, _REASON),
        code=_text(value.code, _NATIVE),
        never_began=_text(value.never_began, _REASON),
        native=_text(value.native, _NATIVE),
        native_state=_text(value.native_state, _NATIVE),
        native_reason=_text(value.native_reason, _REASON),
    )
    if clean == value:
        return value
    return clean


def _staged(answer: object, given: tuple[Any, ...]) -> dict[str, str]:
    found = _mapping(answer, given[1])
    for path in found.values():
        if not isinstance(path, str):
            raise _not(path, "str", "for the path of an input")
    return found


def _size(answer: object, _: tuple[Any, ...]) -> int:
    return _whole(answer, 1)


def _count(answer: object, _: tuple[Any, ...]) -> int:
    return _whole(answer, 0)


def _shown(answer: object, _: tuple[Any, ...]) -> str:
    if not isinstance(answer, str):
        raise _not(answer, "str")
    return answer[:_SHOWN]


def _token(answer: object, _: tuple[Any, ...]) -> str | None:
    if answer is not None and not isinstance(answer, str):
        raise _not(answer, "str or None")
    return answer


def _findings(answer: object, _: tuple[Any, ...]) -> Iterable[object]:
    if not isinstance(answer, Iterable) or isinstance(answer, str | bytes):
        raise _not(answer, "an iterator of Finding")
    return answer


_CHECKS: dict[str, Callable[[object, tuple[Any, ...]], object]] = {
    "change_token": _token,
    "describe": _shown,
    "discover": _shown,
    "ends": _status,
    "launch": _launched,
    "launch_size": _size,
    "probe": _findings,
    "stage": _staged,
    "status": _status,
    "unstage": _count,
}


def _mapping(answer: object, keys: Iterable[str]) -> dict[str, Any]:
    """Return what a mapping says of the keys that were asked for: of each of them, and of no other."""
    if not isinstance(answer, Mapping):
        raise _not(answer, "a mapping")
    found, wanted = dict(answer), list(keys)
    missing = [key for key in wanted if key not in found]
    if missing:
        raise WrongAnswerError(f"it says nothing of {missing[0]}, which it was asked for")
    if len(found) > len(set(wanted)):
        strange = next(key for key in found if key not in wanted)
        raise WrongAnswerError(f"it speaks of {strange!r:.100}, which it was not asked for")
    return found


def _is(value: object, kind: type) -> bool:
    """Say whether a field is of its type: nothing has checked that of what a plug-in made."""
    return isinstance(value, kind)


def _whole(answer: object, low: int) -> int:
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise _not(answer, "int")
    if answer < low:
        raise WrongAnswerError(f"it returned {answer}, not a number from {low} on")
    return answer


def _text(value: object, length: int) -> str:
    """Return a text of bounded length without control characters; new lines stay."""
    if not isinstance(value, str):
        raise _not(value, "str")
    text = str(value[:length])
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


def _not(value: object, wanted: str, where: str = "") -> WrongAnswerError:
    return WrongAnswerError(" ".join(f"it returned {type(value).__name__}, not {wanted} {where}".split()))
