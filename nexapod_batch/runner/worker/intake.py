"""What of a spool is a worker's to run: launches verified and claimed, and replicas that are cancelled.

Nothing is claimed that would have to wait for long, nothing while the owner of the machine lets nothing start, and
nothing by a worker of older code than the coordinator's.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.errors import ConfigError, NexapodError
from nexapod_batch.files import atomic, careful
from nexapod_batch.runner.launches.launch import OpenedLaunch, open_launch
from nexapod_batch.spool import layout, node_config
from nexapod_batch.spool.news import News
from nexapod_batch.trust.bundle import MAX_BUNDLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.spool.node_config import NodeConfig
    from nexapod_batch.spool.runner_spool import Spool

__all__ = ["MAX_CHUNK", "SHORT_S", "Intake", "OpenLaunch", "settings_version"]

MAX_CHUNK = 64  # replicas that an executor is given at once
SHORT_S = 0.025  # replicas shorter than this are handed out ahead of time
#: Settings that a worker follows while it runs: keys are given the places of others.
_FOLLOWED = ("keys", "coordinators", "successor")
#: Those that its executors have from the start: another worker takes over where they changed.
_INHERITED = ("code", "passes", "env")
MAX_REASON = 4_000  # characters of why a bundle is refused


class OpenLaunch(Struct):
    """A claimed launch."""

    launch: OpenedLaunch
    seed: str  # of its key, in hex, for executors that are there already
    pending: deque[int]  # positions in the bundle that nobody has
    left: int  # replicas neither reported nor given up
    mean_s: float | None = None  # of one replica, as measured so far

    @property
    def need(self) -> tuple[int, int]:
        """CPUs and MiB that one replica occupies."""
        resources = self.launch.job.resources
        return resources.cpus, resources.mem_mib or 0

    @property
    def is_quick(self) -> bool:
        """Whether its replicas are known to be short."""
        return self.mean_s is not None and self.mean_s < SHORT_S

    def measured(self, mean_s: float) -> None:
        """Take in how long replicas took."""
        self.mean_s = mean_s if self.mean_s is None else (self.mean_s + mean_s) / 2


class Intake:
    """The open launches of one worker."""

    def __init__(self, node: NodeConfig, spool: Spool, mine: Sequence[str] | None) -> None:
        """Remember where launches come from; with `mine` only these are taken, whatever else is in the inbox."""
        self.node, self._spool = node, spool
        self.open: dict[str, OpenLaunch] = {}  # in the order in which they were claimed
        self.expected = None if mine is None else list(mine)  # not looked at yet
        self.cancelled: set[str] = set()
        self.outdated = False  # the coordinator's code is another one by now: nothing more is taken
        self._news = News()  # of the spool since the last complete look
        self._more = False  # launches were left unclaimed because enough is at hand
        self._settings = settings_version(node.spool)

    def look(self, *, paused: bool) -> tuple[bool, set[str]]:
        """Take in news of the spool; return whether there was a launch, and what is newly cancelled.

        While it is `paused` nothing is claimed. Launches that are expected are all taken at once: no command here finds
        the key of a launch that waits behind it.
        """
        came = False
        while self.expected:
            came |= self._take(self.expected.pop(0))
        news = self._news.there(self._spool.version())
        if not news and not (self._more and not self._enough(paused=paused)):
            return came, set()
        asked = self._spool.cancelled()  # before the inbox: what it names was put there earlier
        with suppress(ConfigError):  # told with the launch that it concerns
            self._look_at_settings()
        came |= self._look_into_inbox(paused=paused)
        new = asked - self.cancelled
        self.cancelled |= new
        if asked and self.expected is None and not self.open and not self._more:  # obeyed, or about nothing here
            self._spool.drop_cancels(asked)
        return came, new

    def close(self, key: str) -> None:
        """Close a launch of which every replica was reported or given up."""
        one = self.open.pop(key)
        if one.launch.script is not None:
            one.launch.script.unlink(missing_ok=True)
        self._spool.finish(key)
        if self.cancelled:
            names = {str(one.launch.name(index)) for index in range(len(one.launch.bundle.replicas))} | {key}
            self._spool.drop_cancels(names & self.cancelled)
            self.cancelled -= names

    def _look_into_inbox(self, *, paused: bool) -> bool:
        """Claim launches until enough is at hand; listing the inbox costs more with every launch in it."""
        self._more = self.expected is None and self._enough(paused=paused)
        if self._more or self.expected is not None:
            return False
        came = False
        for key in self._spool.waiting():
            if self._enough(paused=paused):
                self._more = True
                break
            came |= self._take(key)
        return came

    def _enough(self, *, paused: bool) -> bool:
        """Say whether claimed work will keep the node busy until the next look; nothing is claimed that must wait."""
        if paused or self.outdated:
            return True
        pending = waiting = 0  # the latter for GPUs, which others need not do
        for one in self.open.values():
            if one.launch.job.resources.gpus:
                waiting += len(one.pending)
            else:
                pending += len(one.pending)
        quick = any(one.is_quick for one in self.open.values())
        most = self.node.cpus * (2 * MAX_CHUNK if quick else 2)
        return pending >= most or pending + waiting >= most + MAX_CHUNK

    def _take(self, key: str) -> bool:
        """Verify and claim one launch; False when it is not ours to run."""
        if not layout.is_launch_key(key):
            self._refuse(key, "its file name is no launch key")
            return False
        seed = self._spool.seed(key)
        launch = self._verified(key, seed)
        if launch is None or not self._spool.claim(key):
            return False
        if launch.script is not None:
            atomic.write(launch.script, launch.job.script.encode(), mode=0o700, durable=False)
        count = len(launch.bundle.replicas)
        self.open[key] = OpenLaunch(launch=launch, seed=seed.hex(), pending=deque(range(count)), left=count)
        return True

    def _verified(self, key: str, seed: bytes) -> OpenedLaunch | None:
        """Return a launch that this node may run; None for one that was withdrawn, or was refused."""
        try:
            envelope = careful.read(self._spool.inbox_file(key), MAX_BUNDLE)
            self._look_at_settings()
            if self.outdated:
                return None
            return open_launch(key, envelope, seed, self.node, time.time())
        except careful.NotPlainError as error:
            self._refuse(key, f"it is no bundle: {error.strerror}")
        except OSError:
            pass  # withdrawn, or not to be read now
        except NexapodError as error:
            if not self._spool.is_claimed(key):  # by another runner, which took the key with it
                self._refuse(key, str(error))
        except Exception as error:  # noqa: BLE001 - whatever one bundle does, the others are run
            self._refuse(key, f"it cannot be understood: {type(error).__name__}")
        return None

    def _look_at_settings(self) -> None:
        """Know the keys that the node has by now, and whether its code is another, or what its commands are passed."""
        version = settings_version(self.node.spool)
        if version == self._settings:
            return
        new = node_config.load(self.node.spool)
        self.outdated = self.outdated or any(
            getattr(new, name) != getattr(self.node, name) for name in _INHERITED
        )
        followed = {name: getattr(new, name) for name in _FOLLOWED}
        if followed != {name: getattr(self.node, name) for name in _FOLLOWED}:
            self.node = node_config.changed(self.node, **followed)
        self._settings = version

    def _refuse(self, key: str, reason: str) -> None:
        print(f"launch {key}: refused: {reason}", file=sys.stderr, flush=True)  # noqa: T201 - worker.log
        try:
            self._spool.refuse(key, reason[:MAX_REASON])
        except OSError:  # its name is too long for a reason beside it, or there is no room for one
            self._spool.finish(key)


def settings_version(spool: Path) -> tuple[int, int]:
    """Return what changes when `node.json` is written anew."""
    try:
        seen = os.stat(spool / layout.NODE_CONFIG)
    except OSError:
        return 0, 0
    return seen.st_mtime_ns, seen.st_ino
