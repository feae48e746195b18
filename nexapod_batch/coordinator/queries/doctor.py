"""What an operator should know about this installation: each check is a line with ok, warn or fail."""

from __future__ import annotations

import os
import shutil
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.coordinator.nodes import keys, profiles
from nexapod_batch.coordinator.nodes.overcommitment import crowded
from nexapod_batch.errors import NexapodError, VerificationError
from nexapod_batch.files import careful, keyfile
from nexapod_batch.files.filesystem_type import filesystem_of
from nexapod_batch.model.hardware import changes
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Reason
from nexapod_batch.spool import layout
from nexapod_batch.wording import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.hardware import Profile
    from nexapod_batch.model.node import Node

__all__ = ["Check", "checks", "first_checks"]


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    verdict: str  # ok, warn or fail
    text: str  # for people
    why: Mapping[str, Any] | None = None  # the reason as data, where there is one


#: What one check yields; name, verdict and text are enough.
_Found = tuple[str, str, str] | Check
_LOW_DISK, _NO_ROOM = 1 << 30, 1 << 20  # bytes
#: Characters of a reason that others wrote.
_MAX_REASON = 400


def checks(c: Coordinator) -> list[Check]:
    """Return what was found of everything that can be looked at without changing it."""
    own = [*_home(c), *_clock(), *_database(c), *_nodes(c), *_hardware(c), *_reports(c), *_kernel()]
    return [Check(*found) for found in (*own, *_containers(c.paths), *_images(c.paths))]


def first_checks(paths: Paths) -> list[Check]:
    """Return the checks of an account that has no database yet; nothing is made."""
    found = [
        ("home", "ok", f"{paths.home} has no jobs yet: the first nexapod-batch submit job.toml makes everything"),
        ("nodes", "ok", "none yet: the first submit makes one of this machine, nexapod-batch node init --help others"),
        *_clock(),
        *_kernel(),
        *_containers(paths),
    ]
    return [Check(*check) for check in found]


def _home(c: Coordinator) -> Iterator[_Found]:
    fstype, network = filesystem_of(c.paths.home)
    text = f"{c.paths.home} on {fstype}"
    yield (
        ("home", "warn", f"{text}: a network file system; the database runs without WAL and slower")
        if network
        else ("home", "ok", text)
    )
    yield _disk(c.paths.home)
    mode = c.paths.home.stat().st_mode & 0o077
    yield (
        "privacy",
        "ok" if not mode else "warn",
        "home is private" if not mode else f"others can read {c.paths.home}: chmod 700 it",
    )


def _disk(home: Path) -> _Found:
    """Say how much room there is, and whether anything can be written at all."""
    if os.statvfs(home).f_flag & os.ST_RDONLY or not os.access(home, os.W_OK | os.X_OK):
        return "disk", "fail", f"{home} cannot be written: whoever looks sees everything, and nothing can go on"
    free = shutil.disk_usage(home).free
    if free < _NO_ROOM:
        text = f"full ({free >> 10} KiB free): nothing can go on -> nexapod-batch gc, or remove something else"
        return "disk", "fail", text
    return "disk", "ok" if free > _LOW_DISK else "warn", f"{free / 2**30:.1f} GiB free"


def _clock() -> Iterator[_Found]:
    yield (
        "clock",
        "ok" if time.time() > 1_700_000_000 else "fail",
        time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    )


def _database(c: Coordinator) -> Iterator[_Found]:
    problems = c.store.check()
    yield "database", "fail" if problems else "ok", "; ".join(problems) or str(c.paths.state_db)


def _nodes(c: Coordinator) -> Iterator[_Found]:
    nodes = c.nodes()
    if not nodes:
        yield "nodes", "warn", "none registered: nexapod-batch node init makes one for this machine"
    for node in nodes:
        if _is_gone(c, node):
            yield f"node {node.name}", "ok", f"drained, and site {node.site} is gone: its key stays on record"
            continue
        if keys.is_removed(c, node):
            yield f"node {node.name}", "ok", "removed: its public key stays on record"
            continue
        yield _node_key(c, node)
        yield from _refused_bundles(c, node)
        yield from _packages(c, node)
    for row in c.store.nodes.all():
        if row.blame:
            yield f"node {row.name}", "warn", f"signed {row.blame} statements that no honest node signs"


def _is_gone(c: Coordinator, node: Node) -> bool:
    """Say whether a node was drained and the file of its site taken away: then there is nothing to look at."""
    return not (node.active or node.site in {LOCAL, *c.sites()} or node.id in c.store.nodes.at_work())


def _node_key(c: Coordinator, node: Node) -> _Found:
    """Compare the key file of a node with its registered key."""
    try:
        loaded = keyfile.load(c.paths.keys / f"node-{node.name}")
    except NexapodError as error:
        return f"node {node.name}", "fail", str(error)
    if loaded.key_id != node.key_id:
        return f"node {node.name}", "fail", f"its key file is not the registered key {node.key_id}"
    text = f"{node.backend}, {node.cpus} CPUs, {node.mem_mib} MiB, owner {node.owner}, {node.key_id}"
    return f"node {node.name}", "ok", text


def _packages(c: Coordinator, node: Node) -> Iterator[_Found]:
    """Yield what has to be installed before a node can be used."""
    try:
        c.usable_backend(node)
    except NexapodError as error:
        yield f"node {node.name}", "fail" if node.active else "warn", error.one_line


def _refused_bundles(c: Coordinator, node: Node) -> Iterator[_Found]:
    """Yield what the workers of a node refused."""
    try:
        refused = c.context(node).spool / layout.REFUSED
    except NexapodError as error:  # the file of its site
        yield f"node {node.name}", "fail" if node.active else "warn", str(error)
        return
    for reason in sorted(refused.iterdir()) if refused.is_dir() else ():
        launch = layout.launch_of_reason(reason.name)
        if launch:
            yield f"node {node.name}", "warn", f"refused bundle {launch[:80]}: {_words(reason)}"


def _words(reason: Path) -> str:
    """Return the beginning of what a worker left."""
    try:
        return careful.read(reason, 1 << 20).decode("utf-8", "replace").strip()[:_MAX_REASON]
    except OSError as error:
        return f"its reason cannot be read: {error.strerror}"


def _hardware(c: Coordinator) -> Iterator[_Found]:
    """Compare what the nodes of this machine signed with what it is now."""
    mine = [node for node in c.nodes() if node.site == LOCAL and node.host == socket.gethostname()]
    mine = [node for node in mine if not keys.is_removed(c, node)]
    if not mine:
        return
    if too_much := crowded(c):
        yield "machine", "warn", too_much
    now, faults = profiles.take(c.paths)
    for fault in faults:
        yield "hardware", "warn", " ".join(fault.split("\n")[0].split())
    for node in mine:
        # with a driver out of order it would offer less
        yield from _profile(c, node, now, may_sign_again=not faults)


def _profile(c: Coordinator, node: Node, now: Profile, *, may_sign_again: bool) -> Iterator[_Found]:
    """Compare what a node signed of this machine with what it is now."""
    name, again = f"node {node.name}", f"nexapod-batch node init {node.name} --refresh"
    try:
        offer = c.offer(node)
    except VerificationError as error:
        yield name, "fail", f"its hardware profile does not verify ({error.what}): {again}"
        return
    if offer is None:
        yield name, "warn", f"it has no signed hardware profile: {again}"
        return
    then = f"; {again}" if may_sign_again else ""
    for change in changes(offer.profile, now):
        yield name, "warn", f"its hardware changed since it was signed: {change}{then}"


def _reports(c: Coordinator) -> Iterator[_Found]:
    number, dropped = c.store.reports.quarantined()
    more = f", and {dropped} more that were not kept" if dropped else ""
    yield "quarantine", "warn" if number else "ok", f"{number} bad reports{more}" if number else "empty"
    for row in c.store.reports.last_quarantined(5):
        where = f"from {row.node or 'an unknown node'}, {row.segment} at byte {row.position}"
        yield _because("quarantine", row.reason, f"{where}: ")
    for stored in c.store.operations.faults().values():
        yield _because("fault", stored)


def _because(name: str, stored: str, before: str = "") -> Check:
    """Return a warning about something of which a reason is stored."""
    reason = Reason.parse(stored) or Reason.text("")
    return Check(name, "warn", f"{before}{one_line(reason)[:_MAX_REASON]}", reason.document())


def _kernel() -> Iterator[_Found]:
    good = os.path.exists("/proc/self/task") and hasattr(os, "posix_spawn")
    yield (
        "kernel",
        "ok" if good else "fail",
        "processes can be watched" if good else "no /proc: left-over processes cannot be found",
    )


def _containers(paths: Paths) -> Iterator[_Found]:
    from nexapod_batch.coordinator.placement.container_support import facts  # noqa: PLC0415 - runs the program

    for name, runtime in (("containers", "apptainer"), ("confinement", "bare")):
        for fact in facts(paths.home, runtime):
            # a machine without containers is a good one all the same
            text = f"{fact.text} -> {fact.hint}" if fact.hint and fact.mark != "ok" else fact.text
            yield name, "warn" if fact.mark == "fail" else fact.mark, text


def _images(paths: Paths) -> Iterator[_Found]:
    from nexapod_batch.coordinator.placement.images import cache_of  # noqa: PLC0415

    cache = cache_of(paths)
    if not cache.folder.is_dir():
        return
    found = cache.images()
    size = sum(one.size for one in found)
    text = f"{len(found)} in {cache.folder} on {filesystem_of(cache.folder)[0]}, {size / 2**20:.0f} MiB"
    if cache.max_bytes:
        text += f" of at most {cache.max_bytes / 2**20:.0f} MiB (images.max_size)"
    if not os.access(cache.folder, os.W_OK | os.X_OK):
        yield "images", "fail", f"{cache.folder} cannot be written -> set images.dir to a folder of your own"
    elif cache.max_bytes and size > cache.max_bytes:
        yield "images", "warn", f"{text} -> nexapod-batch image prune"
    else:
        yield "images", "ok", text
