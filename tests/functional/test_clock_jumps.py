"""The coordinator's clock is set while it works: by a day at every look."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home
from spools import until

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.commands.reconcile import reconcile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGAN, DAY_S = 1_800_000_000.0, 86_400.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with a node."""
    made = Home(tmp_path)
    assert made.call("node", "init", "--name", "n").code == 0
    yield made
    made.end()


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
def test_a_pass_has_its_time_whatever_the_clock_says(home: Home, jump_s: float) -> None:
    """It takes in, decides and publishes all that is there, and what it says of times is no length of a day."""
    assert home.submit(TRUE.replace("[quorum]", '[array]\nids = "0-4"\n[quorum]')).code == 0
    until(lambda: len(home.lines("n")) == 10, "ten statements")
    looks = count()
    with open_coordinator(Paths.of(home.path)) as c:
        c.clock = lambda: BEGAN + jump_s * next(looks)
        done = reconcile(c, 50.0)
        again = reconcile(c, 50.0)
    assert next(looks) > 10
    assert (done.ingested, done.decided, done.quarantined, done.lost, done.faults) == (10, 5, 0, 0, [])
    assert done.published + again.published == 5
    assert home.json("show", 1)["job"]["counts"]["accepted"] == 5
    assert home.call("verify", 1).code == 0
