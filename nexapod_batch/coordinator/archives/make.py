"""`archive`: a job that has ended, with all that its verdicts rest on, in one new folder or tar file.

The same job gives the same bytes, whenever and wherever it is archived: no time but the job's own is in it, files stand
sorted, and Ed25519 signatures depend on nothing but key and text.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch import log
from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.contents import (
    Item,
    difference_items,
    input_items,
    judged_items,
    result_items,
    runs,
)
from nexapod_batch.coordinator.archives.crate import Crate, iso_time
from nexapod_batch.coordinator.archives.readme import readme
from nexapod_batch.coordinator.archives.writing import copied, made_whole, packed, refuse_existing, tar_file
from nexapod_batch.coordinator.verification.attestations import attestations
from nexapod_batch.errors import TryAgainError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.jobs import JobRow

__all__ = ["Archived", "archive", "filled", "gathered", "tag_files"]


class Archived(NamedTuple):
    """What was archived."""

    path: Path
    files: int  # of the payload
    size: int  # bytes of the payload
    sha256: str  # of the tag manifest, in hex: it names everything


def archive(
    c: Coordinator, job_id: int, out: Path, *, inputs: bool = True, checkpoint: Path | None = None
) -> Archived:
    """Write the archive of a job into a new folder, or a new file if `out` ends in `.tar`.

    Proofs of the ledger are made against the head in the file `checkpoint`, with its cosignatures, or against the first
    that has everything of the job.

    NotFoundError where nothing was signed yet, or an input is not kept; VerificationError or UnsafeOutputError where
    published files are not those that were signed. Then nothing is written.

    Raises:
        TryAgainError: The job has not ended.
        UsageError: There is something of that name.

    """
    job = c.store.jobs.get(job_id)
    if job.n_waiting or job.n_active:
        hint = f"nexapod-batch wait {job_id}"
        raise TryAgainError(f"job {job_id} has not ended", got=f"{job.n_waiting + job.n_active} open tasks", hint=hint)
    if out.name.endswith((".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".zip")):
        raise UsageError("archives are not compressed", got=out.name, wanted="a folder, or FILE.tar")
    refuse_existing(out)
    with made_whole(out) as stage:
        job, items = gathered(c, job_id, stage, inputs=inputs, checkpoint=checkpoint)
        if out.name.endswith(".tar"):
            digest = _write_tar(c, job, items, stage, inputs=inputs)
            (stage / "tar").replace(out)
        else:
            digest = filled(c, job, items, stage, inputs=inputs)
            stage.replace(out)
    size = sum(item.size for item in items)
    log.info(__name__, "archived", job=job_id, files=len(items), bytes=size, out=out)
    return Archived(out, len(items), size, digest)


def gathered(
    c: Coordinator, job_id: int, stage: Path, *, inputs: bool, checkpoint: Path | None = None
) -> tuple[JobRow, list[Item]]:
    """Write the proof of a job into a stage; return the job, and all files of the archive but the tag files, sorted.

    Raises as `archive` does.
    """
    with c.store.view():  # a report that comes in now is in all of it, or in nothing
        job = c.store.jobs.get(job_id)
        attestations(c, job_id, None, stage / bag.PROOF, checkpoint, settled=checkpoint is None)
        items = [*_proof(stage), *_payload(c, job, inputs=inputs)]
    items.sort(key=_by_name)
    return job, items


def _by_name(item: Item) -> bytes:
    return item.name.encode()


def _proof(stage: Path) -> list[Item]:
    """Return the files of the proof, which lie in the stage."""
    folder = stage / bag.PROOF
    with os.scandir(folder) as entries:
        return [Item(f"{bag.PROOF}{entry.name}", folder / entry.name, entry.stat().st_size) for entry in entries]


def _payload(c: Coordinator, row: JobRow, *, inputs: bool) -> list[Item]:
    """Return everything else of the payload."""
    job = c.job(row.id)
    kept = input_items(c, job) if inputs else []
    crate = Crate(row, job, c.nodes_by_id(), [item.sha256 for item in kept])
    items = list(kept)
    for task in runs(c, row.id):
        items += result_items(c, task)
        items += judged_items(c, task)
        items += difference_items(c, task)
        crate.add(task)
    text = crate.text()
    return [*items, Item(bag.CRATE, text, len(text))]


def filled(c: Coordinator, job: JobRow, items: list[Item], stage: Path, *, inputs: bool) -> str:
    """Complete the bag in the stage where its proof is; return the digest of its tag manifest, in hex."""
    here = stage / bag.PROOF
    others = [item for item in items if not item.name.startswith(bag.PROOF)]
    digests = dict(zip([item.name for item in others], copied(others, stage), strict=True))
    for item in items:
        if item.name not in digests:
            digests[item.name] = hashlib.sha256((here / item.name.removeprefix(bag.PROOF)).read_bytes()).hexdigest()
    tags = tag_files(c, job, items, digests, inputs=inputs)
    for name, data in tags.items():
        (stage / name).write_bytes(data)
    return hashlib.sha256(tags[bag.TAGS]).hexdigest()


def tag_files(
    c: Coordinator, job: JobRow, items: list[Item], digests: dict[str, str], *, inputs: bool
) -> dict[str, bytes]:
    """Return the tag files by name, in the order in which they are written: the tag manifest, which names them, last.

    `digests` are those of all other files of the archive, in hex by name.
    """
    tags = _tags(job, items, digests, inputs=inputs)
    text = _tag_manifest(tags)
    return {**tags, bag.SIGNATURE: c.signer.sign(text), bag.TAGS: text}


def _write_tar(c: Coordinator, job: JobRow, items: list[Item], stage: Path, *, inputs: bool) -> str:
    """Write the bag as `tar` in the stage, sorted; return the digest of its tag manifest."""
    before, top = _tags(job, items, {}, inputs=inputs), bag.bag_name(job.uuid)
    first = [Item(name, before[name], len(before[name])) for name in (bag.README, bag.BAG_INFO, bag.BAGIT)]
    found, end = packed([*first, *items], stage / "tar", top)
    digests = dict(zip([item.name for item in items], found[len(first) :], strict=True))
    tags = _tags(job, items, digests, inputs=inputs)
    text = _tag_manifest(tags)
    rest = ((bag.MANIFEST, tags[bag.MANIFEST]), (bag.SIGNATURE, c.signer.sign(text)), (bag.TAGS, text))
    with tar_file(stage / "tar", top, end) as writer:
        for name, data in rest:
            writer.add(Item(name, data, len(data)))
    return hashlib.sha256(text).hexdigest()


def _tags(job: JobRow, items: list[Item], digests: dict[str, str], *, inputs: bool) -> dict[str, bytes]:
    """Return the tag files that the tag manifest names; `bag-info.txt` needs no digests."""
    oxum = f"{sum(item.size for item in items)}.{len(items)}"
    ended = iso_time(job.finished_at or job.created_at)
    pairs = [
        ("Bagging-Date", ended.partition("T")[0]),
        ("External-Description", f"job {job.id}: {job.name}"),
        ("External-Identifier", f"urn:uuid:{job.uuid}"),
        ("Nexapod-Inputs", "here" if inputs else "left out"),
        ("Nexapod-Job-SHA256", job.digest),
        ("Payload-Oxum", oxum),
    ]
    return {
        bag.README: readme(job.id, job.uuid, job.name, job.digest, inputs=inputs),
        bag.BAG_INFO: bag.bag_info(pairs),
        bag.BAGIT: bag.BAGIT_TEXT,
        bag.MANIFEST: bag.manifest_text(digests.items()),
    }


def _tag_manifest(tags: dict[str, bytes]) -> bytes:
    return bag.manifest_text([(name, hashlib.sha256(data).hexdigest()) for name, data in tags.items()])
