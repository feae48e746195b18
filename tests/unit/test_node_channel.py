"""What a server remembers of nodes: which calls need not be kept, and when keys are read again."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.mesh.messages import Held, Lines, LogPiece, Message, Said, WorkCall
from nexapod_batch.server import node_channel
from nexapod_batch.server.node_channel import NodeChannel
from nexapod_batch.server.scope_names import LEFT
from nexapod_batch.store.repositories.operations import EpochRow

if TYPE_CHECKING:
    from pathlib import Path

POLL = "0" * 32
NEWS: dict[str, dict[str, Any]] = {
    "a message is acknowledged": {"acknowledged": ("want-1",)},
    "a launch is refused": {"refused": {"ab" * 16: "no"}},
    "a signature": {"delegations": {"ab" * 16: "00"}},
    "lines": {"lines": (Lines(segment="a.jsonl", at=0),)},
    "a word on a launch": {"launches": {"ab" * 16: Said(state="ACTIVE")}},
    "files": {"brought": {"1_0.1": {}}},
    "a piece of a log": {"logs": (LogPiece(replica="1_0.1", stream="stdout", at=0, data=b"hi"),)},
    "all it holds": {"holds_no_more": True},
    "a launch that it holds": {"holds": (Held(launch="ab" * 16, envelope="", delegation="", signature=""),)},
    "it leaves": {"leaves": True},
    "another folder": {"folder": "/elsewhere"},
    "a pause": {"paused": "snoozed"},
}


def channel(tmp_path: Path) -> tuple[NodeChannel, list[int]]:
    """Return a channel, and what gets an entry whenever it asks the coordinator for keys."""
    asked: list[int] = []

    async def read(_: object) -> Any:
        asked.append(1)
        return {}, frozenset(), {}, EpochRow(number=1, since=0, entry=0, first_job=0)

    return NodeChannel(tmp_path, read), asked


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS)
def test_what_is_new_is_kept(tmp_path: Path, news: dict[str, Any]) -> None:
    """A call that says what the one before said need not be kept; one with any news must be."""
    known, _ = channel(tmp_path)
    plain: dict[str, Any] = {"poll": POLL, "folder": "/in", "paused": ""}
    assert not known.is_kept("one", WorkCall(**plain))
    known.kept("one", WorkCall(**plain))
    assert known.is_kept("one", WorkCall(**plain))
    assert not known.is_kept("two", WorkCall(**plain))
    assert not known.is_kept("one", WorkCall(**{**plain, **news}))


def test_keys_are_read_again_when_something_was_written(tmp_path: Path) -> None:
    """A database that nobody wrote to since has the keys that are known already."""
    known, asked = channel(tmp_path)
    database = tmp_path / "state.db"
    database.write_bytes(b"")
    os.utime(database, (1_000, 1_000))

    async def look(stamp: int) -> None:
        os.utime(database, (stamp, stamp))
        known._read_at = float("-inf")
        await known.node("SHA256:x")

    async def all_looks() -> None:
        for stamp in (1_000, 1_000, 2_000, 2_000, 1_500):
            await look(stamp)

    asyncio.run(all_looks())
    assert len(asked) == 3


def test_polls_that_come_while_the_server_ends_do_not_wait(tmp_path: Path) -> None:
    """Neither those that waited, nor those that come on connections that are open still."""
    known, _ = channel(tmp_path)
    box = Mailbox(tmp_path / "spool/one")

    async def polls() -> list[bool]:
        waits = asyncio.get_running_loop().create_task(known.wait("one", box, 0, {}, 600))
        await asyncio.sleep(0)
        known.release()
        return [await waits, await known.wait("two", box, 0, {}, 600)]

    assert asyncio.run(asyncio.wait_for(polls(), 60)) == [True, False]


def test_a_poll_that_waits_is_woken_when_the_bell_rings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells the server of a message that another process left: it need not look for that."""
    monkeypatch.setattr(node_channel, "_TOLD_S", 3600.0)
    known, _ = channel(tmp_path)
    box = Mailbox(tmp_path / "spool" / "one")
    (tmp_path / "spool").mkdir()
    box.make()
    os.utime(box.spool / "outbox", (1_000, 1_000))  # else the poll is woken at once: it may just have changed

    async def woken() -> bool:
        waiter = asyncio.ensure_future(known.wait("one", box, box.version(), {}, 120.0))
        for _ in range(10):  # until the bell is listened to
            await asyncio.sleep(0)
        await asyncio.to_thread(box.put, Message(name="expire-1", expire=("ab" * 16,)))
        return await waiter

    assert asyncio.run(woken())


def test_a_poll_of_nobody_does_not_wait(tmp_path: Path) -> None:
    """Whether its connection ended before, or ends while it waits."""
    known, _ = channel(tmp_path)
    box = Mailbox(tmp_path / "spool/one")

    async def polls() -> list[bool]:
        scope: dict[str, Any] = {}
        waits = asyncio.ensure_future(known.wait("one", box, 0, scope, 600))
        await asyncio.sleep(0)
        scope[LEFT].set_result(False)
        return [await waits, await known.wait("one", box, 0, {LEFT: None}, 600)]

    assert asyncio.run(asyncio.wait_for(polls(), 60)) == [False, False]
    assert known.polls == 0
