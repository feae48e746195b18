"""What holds for every test: examples have no deadline, and the process is afterwards as it was."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from process_state import ProcessState
from second_try import pytest_addoption, pytest_collectreport, pytest_configure, pytest_runtest_logreport  # noqa: F401

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell that started this in the background: children are interrupted
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from collections.abc import Iterator

# On a busy machine an example may take any time, and no test depends on it.
settings.register_profile("nexapod", deadline=None)
settings.load_profile("nexapod")


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Fail the test that leaves umask, folder, environment, signals or threads otherwise than it found them."""
    before = ProcessState.now()
    yield
    changes = before.changes()
    if changes:
        before.restore()
        pytest.fail("the test changed its process: " + "; ".join(changes), pytrace=False)
