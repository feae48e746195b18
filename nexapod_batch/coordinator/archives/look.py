"""`archive show`: what an archive says of itself. Nothing is checked but bounds, and it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.members import open_members
from nexapod_batch.coordinator.evidence.export_format import JOB, VERDICT, ExportedVerdict
from nexapod_batch.errors import DescriptorError, VerificationError
from nexapod_batch.model.document import from_document
from nexapod_batch.trust.nesting import depth_within, loads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nexapod_batch.coordinator.archives.members import Members
    from nexapod_batch.model.job import Job

__all__ = ["shown"]


def shown(path: Path) -> dict[str, Any]:
    """Return what an archive says of itself; NotFoundError where there is none, VerificationError for what is none."""
    with open_members(path) as members:
        return _shown(path, members)


def _shown(path: Path, members: Members) -> dict[str, Any]:
    try:
        info, word, job = _read(members)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DescriptorError) as error:
        hint = f"nexapod-batch verify {path} says what is wrong with it"
        raise VerificationError(f"{path} cannot be read as an archive", got=str(error)[:200], hint=hint) from error
    states: dict[str, int] = {}
    for task in word.tasks:
        states[task.state] = states.get(task.state, 0) + 1
    replicas = [replica for task in word.tasks for replica in task.replicas]
    return {
        "archive": str(path), "job": word.job, "uuid": word.uuid, "digest": word.digest, "name": job.name,
        "ended": info.get("Bagging-Date", ""), "tasks": len(word.tasks), "states": states,
        "statements": sum(replica.statements for replica in replicas),
        "nodes": sorted({f"{replica.node} (site {replica.site}, owner {replica.owner})" for replica in replicas}),
        "files": len(members.sizes), "bytes": sum(members.sizes.values()),
        "inputs": info.get("Nexapod-Inputs") == "here",
        "reproductions": _reproductions(members),
    }  # fmt: skip


def _read(members: Members) -> tuple[Mapping[str, str], ExportedVerdict, Job]:
    """Return what an archive says of itself, the coordinator's word, and the job; ValueError where it is none."""
    info = bag.parse_bag_info(members.read(bag.BAG_INFO, bag.MAX_TEXT))
    text = members.read(f"{bag.PROOF}{VERDICT}", bag.MAX_TEXT)
    if not depth_within(text):
        raise ValueError("nested too deeply")
    word = msgspec.json.decode(text, type=ExportedVerdict)
    return info, word, from_document(loads(members.read(f"{bag.PROOF}{JOB}", bag.MAX_TEXT)))


def _reproductions(members: Members) -> list[str]:
    names = [name.removeprefix(bag.REPRODUCTIONS) for name in members.sizes if name.startswith(bag.REPRODUCTIONS)]
    return sorted(name for name in names if name.endswith(".dsse.json"))
