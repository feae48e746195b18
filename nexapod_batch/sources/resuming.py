"""One loop for whatever is downloaded, inputs and images: taken up again where it broke off, and given up in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from nexapod_batch.errors import UnreachableError
from nexapod_batch.sources.web import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RESUMES", "Download", "resumed"]

#: How often in a row a download is taken up again that brings nearly nothing, before it is left to the next run.
RESUMES = 6
#: Bytes that a try must have brought for those before it to be forgotten.
_ENOUGH = 1 << 20

_Got = TypeVar("_Got")


class Download(NamedTuple):
    """What is fetched, and who hears of it."""

    what: str
    have: Callable[[], int]  # bytes that are there
    may_pass: Callable[[Exception], bool]  # another try may go better after such an error
    say: Callable[[str], None]
    pause: Callable[[float], None]  # waits for so many seconds


def resumed(attempt: Callable[[], _Got], download: Download) -> _Got:
    """Try until all of something is there; return what the last attempt returns.

    Tries count that bring nearly nothing, one after the other: a download of many hours may break off often.

    Args:
        attempt: Goes on from what is there.
        download: What is fetched.

    Raises:
        UnreachableError: It broke off again and again.
        Exception: What `attempt` raised and no further try would mend.

    """
    failed, most = 0, download.have()
    while True:
        try:
            return attempt()
        except Exception as error:
            if not download.may_pass(error):
                raise
            failed, most = _counted(failed, most, download.have())
            if failed > RESUMES:
                hint = "run the same command again: it goes on from what is there"
                what = f"{download.what} broke off {failed} times"
                raise UnreachableError(what, got=reason_of(error), hint=hint) from error
            download.say(f"{download.what}: {reason_of(error)}; going on")
            download.pause(pause_s(failed))


def _counted(failed: int, most: int, have: int) -> tuple[int, int]:
    """Return how many tries in a row brought nearly nothing, and the most bytes that were ever there."""
    if have >= most + _ENOUGH:
        return 0, have
    return failed + 1, max(most, have)


def pause_s(failed: int) -> float:
    """Return how many seconds are waited after so many tries that brought nearly nothing."""
    return min(8.0, 0.125 * (1 << failed))
