"""What a test leaves behind in its process is noticed, named, and put back."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from process_state import ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable

SPOILT: dict[str, tuple[Callable[[], object], str]] = {
    "umask": (lambda: os.umask(0o123), "umask"),
    "folder": (lambda: os.chdir("/"), "current folder"),
    "variable": (lambda: os.environ.update(NEXAPOD_SPOILT="1"), "NEXAPOD_SPOILT"),
    "no variable": (lambda: os.environ.pop("PATH"), "PATH"),
    "mask": (lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]), "blocked signals"),
    "handler": (lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN), "SIGUSR2"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_changed_is_named_and_put_back(kind: str) -> None:
    """Each kind alone; afterwards nothing differs any more."""
    before = ProcessState.now()
    spoil, word = SPOILT[kind]
    spoil()
    (line,) = before.changes()
    assert word in line
    before.restore()
    assert before.changes() == []


def test_a_thread_that_goes_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ends in time is none."""
    monkeypatch.setattr("process_state.GRACE_S", 0.01)
    before, go = ProcessState.now(), threading.Event()
    thread = threading.Thread(target=go.wait, name="left over", daemon=True)
    thread.start()
    assert before.changes() == ["thread left over still runs"]
    go.set()
    thread.join()
    assert before.changes() == []
