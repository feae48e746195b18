"""How Slurm says that an element ended whose reports are all in: well, for memory, not yet, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.jobs.pack_limits import UNBOUNDED
from nexapod_backends.slurm.launch.status import end_status, waiting_status
from nexapod_backends.slurm.queue.monitor import GRACE_S
from nexapod_backends.slurm.queue.observations import Memory, MemoryFile, Observation
from nexapod_backends.slurm.queue.submission_records import Group
from nexapod_backends.slurm.site_state import SiteState

from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node
from nexapod_batch.model.site import Scheduler, Site
from nexapod_batch.plugins import BackendState, NodeContext

if TYPE_CHECKING:
    from pathlib import Path

T0 = 1_000_000.0
NODE = Node(
    id=1, name="n", key_id="k", public_key=b"", site="here", owner="o", host="h", tier=Tier.HPC, backend="slurm", cpus=1, mem_mib=1,
)

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


@pytest.mark.parametrize("word", ["", "RUNNING"])
def test_an_end_is_not_waited_for_for_ever(tmp_path: Path, word: str) -> None:
    """A queue that can never be read again keeps nothing for ever."""
    state = seen(tmp_path, word)
    ends = {days: end_status(state, "key", T0 + days * 86_400).state for days in (9, 11)}
    assert ends == {9: BackendState.ACTIVE, 11: BackendState.COMPLETED}


#: Slurm's word, whether a runner had begun -> how many replicas the next Slurm jobs hold, and whether all are placed anew.
DEATHS = {
    ("FAILED", True): (2, False), ("FAILED", False): (UNBOUNDED, False), ("TIMEOUT", True): (2, False),
    ("OUT_OF_MEMORY", True): (2, True), ("OUT_OF_MEMORY", False): (2, True), ("NODE_FAIL", True): (UNBOUNDED, False),
    ("PREEMPTED", True): (UNBOUNDED, False), ("CANCELLED by 0", True): (UNBOUNDED, False), ("BOOT_FAIL", False): (UNBOUNDED, False),
}  # fmt: skip


@pytest.mark.parametrize(("word", "claimed"), DEATHS)
def test_a_pack_that_died_is_halved_where_one_of_it_may_be_to_blame(tmp_path: Path, word: str, claimed: bool) -> None:
    """Not where nothing of it ever began, and not for what hosts, administrators or people did."""
    state = seen(tmp_path, word, replicas=4)
    status = waiting_status(context_of(tmp_path), state, "key", T0, claimed=claimed)
    most, anew = DEATHS[word, claimed]
    assert (status.state, status.task_fault, status.anew) == (BackendState.FAILED, False, anew)
    assert state.pack_limits.max_replicas("s", T0) == most


def context_of(folder: Path) -> NodeContext:
    """Return a node whose spool is there."""
    site = Site(name="here", scheduler=Scheduler(type="slurm"))
    return NodeContext(
        node=NODE, spool=folder, work=folder, state=folder, remote_spool=folder, remote_work=folder, site=site
    )
