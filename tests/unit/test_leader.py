"""Which coordinator a node follows: when it turns to another one, and that it never goes back to a lower epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexapod_batch.agent.client import RefusedError, Reply
from nexapod_batch.agent.leader import PATIENCE_S, FencedError, Leader, Server
from nexapod_batch.errors import UnreachableError

if TYPE_CHECKING:
    from pathlib import Path

A, B = Server("https://a:1", "SHA256:a"), Server("https://b:1", "SHA256:b")


def refusal(status: int) -> RefusedError:
    """Return what is raised for an answer of a status."""
    return RefusedError(Reply(status, {}, b"{}"))


def leader(tmp_path: Path, times: list[float], *servers: Server) -> Leader:
    """Return a leader that reads the last of these times."""
    return Leader(tmp_path / "leader.json", servers or (A, B), lambda: times[-1])


#: What goes wrong with a server that answered before; after how many seconds; which one is called then.
FAULTS = {
    "silent for a moment": (UnreachableError("no"), 1.0, A),
    "silent for long": (UnreachableError("no"), PATIENCE_S, B),
    "an error of its own for a moment": (refusal(503), 1.0, A),
    "an error of its own for long": (refusal(503), PATIENCE_S, B),
    "it says no": (refusal(403), 10 * PATIENCE_S, A),
    "too many requests": (refusal(429), 10 * PATIENCE_S, A),
    "it leads no more": (refusal(409), 0.0, B),
    "it has another name": (refusal(421), 0.0, B),
}


@pytest.mark.parametrize(("error", "after_s", "wanted"), FAULTS.values(), ids=FAULTS)
def test_when_a_node_turns_to_another_one(tmp_path: Path, error: Exception, after_s: float, wanted: Server) -> None:
    """Not at once where it may only be slow, never where it lives and says no."""
    times = [0.0]
    found = leader(tmp_path, times)
    found.heard(A, 1, 0)
    found.failed(A, error)
    times.append(after_s)
    found.failed(found.current(), error) if found.current() == A else None
    assert found.current() == wanted


def test_one_that_never_answered_is_not_waited_for(tmp_path: Path) -> None:
    """The next one is tried at once, and the first one again after it."""
    found = leader(tmp_path, [0.0])
    found.failed(A, UnreachableError("no"))
    assert found.current() == B
    found.failed(A, UnreachableError("no"))  # another thread, late
    assert found.current() == B
    found.failed(B, UnreachableError("no"))
    assert found.current() == A


def test_a_lower_epoch_is_never_followed_again(tmp_path: Path) -> None:
    """Also not by the next process; the new leader is told everything once."""
    found = leader(tmp_path, [0.0])
    found.heard(A, 1, 0)
    with pytest.raises(FencedError, match="since epoch 3"):
        found.heard(B, 3, 500)
    assert (found.leads, found.told) == ((3, 500), (1, 0))
    found.everything_told((3, 500))
    again = leader(tmp_path, [0.0])
    assert (again.leads, again.told, again.current()) == ((3, 500), (3, 500), A)
    with pytest.raises(FencedError, match="leads no more"):
        again.heard(A, 1, 0)
    assert again.current() == B
    again.heard(B, 3, 500)


def test_two_epochs_of_one_number_are_two(tmp_path: Path) -> None:
    """Each began from a copy that knew of no other: the later one is told everything, the earlier one is over."""
    found = leader(tmp_path, [0.0])
    with pytest.raises(FencedError, match="since epoch 2"):
        found.heard(A, 2, 500)
    found.everything_told((2, 500))
    with pytest.raises(FencedError, match="since epoch 2"):
        found.heard(A, 2, 700)
    assert (found.epoch, found.told) == (2, (2, 500))
    with pytest.raises(FencedError, match="leads no more"):
        found.heard(A, 2, 500)


def test_a_roster_names_who_may_lead(tmp_path: Path) -> None:
    """Who is no longer named is no longer called; an empty roster changes nothing."""
    found = leader(tmp_path, [0.0], A)
    assert not found.several
    found.may_be([])
    assert found.current() == A
    found.may_be([B, A])
    assert (found.current(), found.several) == (A, True)
    found.may_be([B])
    assert found.current() == B
