"""A change of names that is written down before it is made: whoever is killed over it, the next command finishes it.

The plan lies in the home. From the moment it is there the new names count: each of its steps may be repeated, and every
command that opens the coordinator, or looks at sites, finishes it first.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from nexapod_batch.errors import NexapodError
from nexapod_batch.files import atomic
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.store import Store, writer
from nexapod_batch.store.faults import disk_faults

if TYPE_CHECKING:
    from nexapod_batch.config.settings import Paths

__all__ = ["Renaming", "begin", "finish"]

_FILE = "renaming.json"
PATIENCE_S = 30.0


class Renaming(Struct, frozen=True, kw_only=True):
    """What gets another name."""

    site: tuple[str, str]  # as it was, and as it is to be
    nodes: tuple[tuple[str, str], ...]  # likewise
    owner: str  # of its nodes
    moves: tuple[tuple[str, str], ...]  # folders and files, absolute
    file: str  # of the site, as it is to be
    text: str  # what is in it
    old_file: str  # goes


def begin(paths: Paths, plan: Renaming) -> None:
    """Write the plan down, which is the moment from which it holds, and make it so; errors of a full disk."""
    with disk_faults(paths.home):
        atomic.write(paths.home / _FILE, msgspec.json.encode(plan), mode=0o600)
    finish(paths)


def finish(paths: Paths, *, needed: bool = True) -> bool:
    """Finish a renaming that is under way; say whether there was one.

    BusyError while somebody else is at work, and errors of a disk that cannot be written, unless it is not `needed`.
    """
    if not os.path.exists(paths.home / _FILE):
        return False
    try:
        return _finish(paths, paths.home / _FILE)
    except NexapodError:
        if needed:
            raise
        return False


def _finish(paths: Paths, file: Path) -> bool:
    with Store.open(paths.state_db) as store, writer(store, wait_s=PATIENCE_S), disk_faults(paths.home):
        try:
            plan = msgspec.json.decode(file.read_bytes(), type=Renaming)
        except FileNotFoundError:  # somebody else was faster
            return True
        _rename_rows(store, plan)
        for old, new in plan.moves:
            if os.path.lexists(old):
                if os.path.isdir(new) and not os.path.islink(new):
                    shutil.rmtree(new)  # made empty by whoever came in between
                Path(new).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.rename(old, new)
        atomic.write(Path(plan.file), plan.text.encode())
        if plan.old_file != plan.file:
            Path(plan.old_file).unlink(missing_ok=True)
        file.unlink()
    return True


def _rename_rows(store: Store, plan: Renaming) -> None:
    """Give nodes their new names in the registry, and say so in the ledger; nothing where they have them."""
    known = {node.name: node for node in store.nodes.all()}
    with store.atomic():
        for old, new in plan.nodes:
            if old not in known:
                continue
            node = known[old]
            store.nodes.rename(old, name=new, site=plan.site[1], owner=plan.owner)
            now = time.time_ns() // 1_000_000
            store.ledger.append([
                event(Kind.REMOVED, now, node=old, key=node.key_id),
                event(Kind.REGISTERED, now, node=new, key=node.key_id, owner=plan.owner, site=plan.site[1]),
            ])  # fmt: skip

