"""How Slurm says that an element ended whose reports are all in: well, for memory, not yet, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.jobs.pack_limits import UNBOUNDED
from nexapod_backends.slurm.launch.status import end_status
from nexapod_backends.slurm.queue.monitor import GRACE_S
from nexapod_backends.slurm.queue.observations import Memory, MemoryFile, Observation
from nexapod_backends.slurm.queue.submission_records import Group
from nexapod_backends.slurm.site_state import SiteState

from nexapod_batch.model.site import Scheduler, Site
from nexapod_batch.plugins import BackendState

if TYPE_CHECKING:
    from pathlib import Path

T0 = 1_000_000.0

#: Slurm's word -> the end as it is told, and whether a pack is halved.
ENDS = {
    "COMPLETED": (BackendState.COMPLETED, False), "FAILED": (BackendState.COMPLETED, False), "CANCELLED by 7": (BackendState.COMPLETED, False),
    "TIMEOUT": (BackendState.COMPLETED, False), "NODE_FAIL": (BackendState.COMPLETED, False), "PREEMPTED": (BackendState.COMPLETED, False),
    "RUNNING": (BackendState.ACTIVE, False), "COMPLETING": (BackendState.ACTIVE, False), "OUT_OF_MEMORY,COMPLETING": (BackendState.ACTIVE, False),
    "PENDING": (BackendState.ACTIVE, False), "A_NEW_WORD": (BackendState.ACTIVE, False), "": (BackendState.ACTIVE, False),
    "OUT_OF_MEMORY": (BackendState.FAILED, True), "OUT_OF_ME+": (BackendState.FAILED, True), "OOM": (BackendState.FAILED, True),
}  # fmt: skip


def seen(folder: Path, word: str, replicas: int = 1, silent: tuple[float, float] | None = None) -> SiteState:
    """Return a site whose only element was told of with a word; none: Slurm never said anything."""
    group = Group(
        id="g", node="n", partition="p", elements=(("key",),), replicas=(replicas,), native="7", submitted=T0, shape="s"
    )
    told = {"g": {"0": Observation(word, at=T0)}} if word else {}
    memory = Memory(at=T0, seen=told, silent={"g": silent} if silent else {})
    (folder / "site").mkdir()
    MemoryFile(folder / "site" / "queue.json").write(memory)
    state = SiteState(Site(name="here", scheduler=Scheduler(type="slurm")), folder / "site")
    state.groups.save(group)
    state.queue.look([], T0)
    return state


@pytest.mark.parametrize("replicas", [1, 4])
@pytest.mark.parametrize("word", ENDS)
def test_only_memory_speaks_against_a_report(tmp_path: Path, word: str, replicas: int) -> None:
    """What else Slurm says of an end says nothing of what was reported before; of a pack it is not said who it was."""
    state = seen(tmp_path, word, replicas)
    end = end_status(state, "key", T0)
    expected, halved = ENDS[word]
    failed = expected is BackendState.FAILED
    assert (end.state, end.task_fault, end.anew) == (expected, failed and replicas == 1, failed and replicas > 1)
    assert state.pack_limits.max_replicas("s", T0) == (2 if halved and replicas == 4 else UNBOUNDED)
    assert failed == ("Slurm job 7_0" in end.reason)


@pytest.mark.parametrize("key", ["key", "of a launch that Slurm never had"])
def test_what_slurm_forgot_is_waited_for_no_longer(tmp_path: Path, key: str) -> None:
    """An end that nobody can tell any more speaks against nothing."""
    state = seen(tmp_path, "", silent=(T0, T0 + GRACE_S + 1))
    assert end_status(state, key, T0 + GRACE_S + 2).state is BackendState.COMPLETED
