"""The signed statements, written out for foreign tools with all that is needed to check them.

One folder proves one job: the job document, a statement and a delegation for each report, the keys as the registry has
them, the signed verdicts, the manifests of outputs that are too many for a statement, what the coordinator says of each
replica (so that what is missing shows), and how to check all that without any of our code. A signed manifest names all
of it. A file that is there already and says something else is refused: nobody can tell which of the two was exported.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.evidence.export_format import (
    CHECKPOINT,
    COORDINATOR,
    JOB,
    LEDGER_KEY,
    MANIFEST,
    PROOF,
    ROTATION,
    SIGNATURE,
    VERDICT,
    judged_file,
    key_stem,
)
from nexapod_batch.coordinator.evidence.published_results import unpack_manifest
from nexapod_batch.coordinator.evidence.signed_verdicts import stored_again, stored_verdicts
from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.coordinator.nodes.keys import keys_of
from nexapod_batch.coordinator.verification import check_proof
from nexapod_batch.coordinator.verification.export_ledger import first_head, head_for, ledger_files
from nexapod_batch.coordinator.verification.export_word import coordinators_word
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.files import atomic, careful, output_files
from nexapod_batch.ledger.note import MAX_NOTE
from nexapod_batch.trust.keys import key_id, openssh_public, spki_pem
from nexapod_batch.trust.statement_decoder import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.note import Note
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.trust.dsse import Signer

__all__ = ["attestations"]

#: What changes from one export of a job to the next.
_NEW_EACH_TIME = frozenset(
    {VERDICT, COORDINATOR, "README.md", "check.py", MANIFEST, SIGNATURE, CHECKPOINT, LEDGER_KEY}
)
_NEW_ENDINGS = (".vsa.json", PROOF)  # a retry makes another verdict, and the ledger grows
#: A file that is there already is compared with what would be written, and no more than this is read of it.
_MOST = 64 << 20

README = """# Proof of job {job}

| file | what it is |
|---|---|
| `job.json` | the job as it was pinned; its SHA-256 is the digest that every statement names |
| `J_T.N.dsse.json` | what replica N of task T signed: a DSSE envelope with an in-toto statement |
| `J_T.N.delegation.json` | by which the key of its node lets the key of one launch sign it |
| `J_T.manifest` | the outputs of a task that has more than a statement lists, as `sha256sum` writes them |
| `J_T.vsa.json` | the verdict on task T, signed: SLSA's verification summary, which names every statement |
| `J_T.judged-N.vsa.json` | a verdict on task T by other rules than the job's: they are in it |
| `*.tlog-proof` | that it is in the ledger: the `job`, each statement, `verdict`, `judged-N`, what was `published` |
| `checkpoint`, `ledger.vkey` | the signed head of the ledger that the proofs are against, and the key that signed it |
| `coordinator.spki` | the coordinator's key, as PEM: ask the coordinator's owner for it |
| `coordinator.N.rotation.json` | by which it took the place of the one before, signed by both |
| `*.pem`, `*.pub` | keys of nodes, as this coordinator has them: ask the owner of each node for its own |
| `verdict.json` | the coordinator's word: its verdicts, every replica that it placed, and where each counts |
| `manifest-sha256.txt` | the SHA-256 of every other file here: `sha256sum --check manifest-sha256.txt` |
| `manifest-sha256.sig` | the coordinator's signature of that file, 64 bytes |
| `check.py` | checks all of it with Python's own library and `openssl` |

Get the key of each node from its owner, and the UUID of the job ({uuid}) from whoever published it; then

    python3 check.py --uuid UUID --key alice.pem --key bob.pem --results results/{job}

Whoever has nexapod-batch checks more: the folder itself, and each verdict. No account and no database is needed:

    nexapod-batch verify --folder . --uuid UUID --key alice.pem --key bob.pem --results results/{job}

## By hand

0. **The folder.** `sha256sum --check manifest-sha256.txt`, and that the coordinator says so: `openssl pkeyutl -verify
   -pubin -inkey coordinator.spki -rawin -in manifest-sha256.txt -sigfile manifest-sha256.sig`.
1. **The key.** `openssl pkeyutl -verify -pubin -inkey alice.pem -rawin -in signed -sigfile signature` for the
   delegation, where `signed` is `DSSEv1 LENGTH TYPE LENGTH PAYLOAD` of the decoded payload; then the same for the
   statement, with the delegation's `subkey` between the lines of a PEM file.
2. **The job.** In the statement's `externalParameters`, `job` is the UUID, `jobDigest` the SHA-256 of `job.json`,
   `task` and `replica` are those of the file's name, `quorum` is that of `job.json`; the delegation's `job` is the
   same digest, its `node` the fingerprint of the key, and the statement's `nonce` is among its `nonces`. A
   statement of another job by the same node fails here.
3. **The outcome.** In `internalParameters`, `outcome` is `ok`, `exitCode` 0, `isolation` what the job asks for.
4. **The agreement.** As many different keys as `agree` says signed the same subjects: by `nexapod-normalized` where
   there is one, else by `sha256`. Which keys belong to different sites or owners only their owners can tell.
5. **The files.** The `sha256` of each subject is that of the published file, or `manifest` is that of the
   `.manifest` file.
6. **What is missing.** Replicas are numbered 1, 2, 3, ... without gaps: a number without a statement must be one of
   which `verdict.json` says why it has none, and there are as many statements as it says. A coordinator that hides
   the last replicas and says so in `verdict.json` is noticed only by asking the nodes' owners what their nodes were
   given. `J_T.vsa.json` names, under `inputAttestations`, the SHA-256 of the payload of every statement that the
   verdict was reached from: one that is named and not here was left out. `J_T.verdict.tlog-proof` shows that there is
   a verdict, and its SHA-256, also where `J_T.vsa.json` itself was left out. Compare `checkpoint` with a head that
   somebody else kept, or have a witness's key: what the ledger has cannot be taken back without changing it.
"""


class _Folder:
    """The folder of one export."""

    def __init__(self, path: Path) -> None:
        """Make the folder; UsageError when it cannot be made."""
        try:
            self._new = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{path} is no folder that can be made", got=error.strerror, hint="give another --out"
            ) from error
        self.path, self.written = path, dict[Path, str]()

    def write(self, name: str, data: bytes) -> None:
        """Write a file; UsageError when one is there that says something else."""
        path, digest = self.path / name, hashlib.sha256(data).hexdigest()
        if self.written.get(path) == digest:
            return
        if self._new and path not in self.written:
            path.write_bytes(data)
        elif name not in _NEW_EACH_TIME and not name.endswith(_NEW_ENDINGS) and (path.exists() or path.is_symlink()):
            if self._read(path) != data:
                raise UsageError(f"{path} is there already, and is not of this export", hint="give another --out")
        else:
            atomic.write(path, data, durable=False)
        self.written[path] = digest

    def refuse_others(self) -> None:
        """UsageError when there is another statement, delegation or key than those that were written."""
        for path in sorted(self.path.iterdir()):
            evidence = path.name.endswith((".dsse.json", ".delegation.json", ".pem", ".pub", ".manifest", PROOF))
            if evidence and path not in self.written:
                raise UsageError(f"{path} is not of this export", hint="give another --out")

    def write_manifest(self, signer: Signer) -> None:
        """Write the digests of all files that were written, and the coordinator's signature of that."""
        digests = [(path.name, digest) for path, digest in self.written.items()]
        manifest = output_files.manifest(digests)
        self.write(MANIFEST, manifest)
        self.write(SIGNATURE, signer.sign(manifest))

    @staticmethod
    def _read(path: Path) -> bytes | None:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST:
            return None
        return path.read_bytes()


def _replicas(c: Coordinator, job_id: int, task: int | None) -> list[ReplicaRow]:
    """Return the replicas of a job, or of one of its tasks; NotFoundError where there is no such job."""
    c.job(job_id)
    rows = c.store.replicas.of_job(job_id)
    return [row for row in rows if task is None or row.task == task]


def attestations(
    c: Coordinator, job_id: int, task: int | None, out: Path, checkpoint: Path | None = None, *, settled: bool = False
) -> list[Path]:
    """Write the proof of a job, or of one of its tasks; return the paths.

    A key's file name is its fingerprint without `SHA256:`, `/` as `_` and `+` as `-`. `checkpoint` is a file with the
    head that the ledger's proofs are made against, with its cosignatures; else it is the newest, or, `settled`, the
    first that has all of it. UsageError for a folder that holds other evidence.

    Raises:
        NotFoundError: There is nothing to prove yet.

    """
    rows, nodes = _replicas(c, job_id, task), c.nodes_by_id()
    counts = {row.id: len(stored_reports(c, row.id)) for row in rows}
    if not any(counts.values()):
        raise NotFoundError(f"no statement of job {job_id} has come in yet", hint=f"nexapod-batch wait {job_id}")
    tasks = sorted({row.task for row in rows})
    head = first_head(c, job_id, tasks) if settled else _head(c, checkpoint)
    folder = _Folder(out)
    job = c.store.jobs.get(job_id)
    for row in rows:
        _statements(c, row, folder)
        if counts[row.id]:
            _keys(c, nodes[row.node_id], folder)
    folder.write(JOB, c.store.jobs.document(job_id) or b"")
    for index in tasks:
        _manifest(c, job_id, index, rows, folder)
        _signed_verdict(c, job_id, index, folder)
    for name, content in ledger_files(c, job_id, tasks, head):
        folder.write(name, content)
    _coordinator(c, folder)
    folder.write(VERDICT, coordinators_word(c, job, rows, counts, nodes))
    folder.write("README.md", README.format(job=job_id, uuid=job.uuid).encode())
    folder.write("check.py", Path(check_proof.__file__).read_bytes())
    folder.refuse_others()
    folder.write_manifest(c.signer)
    log.info(__name__, "proof written", job=job_id, files=len(folder.written), folder=out)
    return list(folder.written)


def _head(c: Coordinator, checkpoint: Path | None) -> Note:
    """Return the head that proofs are made against; UsageError for a file that cannot be read."""
    if checkpoint is None:
        return head_for(c)
    try:
        kept = careful.read(os.path.realpath(checkpoint), MAX_NOTE).decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"{checkpoint} cannot be read", got=error.strerror) from error
    return head_for(c, kept, str(checkpoint))


def _statements(c: Coordinator, row: ReplicaRow, folder: _Folder) -> None:
    name = f"{row.job_id}_{row.task}.{row.number}"
    for number, report in enumerate(stored_reports(c, row.id)):
        extra = f".{number + 1}" if number else ""  # a voided replica has two statements: show both
        folder.write(f"{name}{extra}.dsse.json", report.envelope + b"\n")
        if report.delegation is not None:
            folder.write(f"{name}.delegation.json", report.delegation + b"\n")


def _keys(c: Coordinator, node: Node, folder: _Folder) -> None:
    """Write the keys that the node has and had: an earlier one may have signed what is exported."""
    for public in keys_of(c, node).values():
        stem = key_stem(public)
        folder.write(f"{stem}.pub", openssh_public(public, node.name).encode())
        folder.write(f"{stem}.pem", spki_pem(public).encode())


def _coordinator(c: Coordinator, folder: _Folder) -> None:
    """Write the coordinator's key, and by which rotations it came to have it."""
    rotations = [row.rotation for row in c.store.operations.coordinator_keys() if row.rotation]
    for number, rotation in enumerate(rotations, 1):
        folder.write(f"{number}".join(ROTATION), rotation + b"\n")
    folder.write(COORDINATOR, spki_pem(c.signer.public).encode())


def _manifest(c: Coordinator, job_id: int, task: int, rows: Sequence[ReplicaRow], folder: _Folder) -> None:
    """Write the manifest that the published replica of a task signed, where there is one."""
    kept, row = c.store.tasks.manifest(job_id, task), c.store.tasks.get(job_id, task)
    source = [r for r in rows if r.task == task and r.number == row.published_from]
    reports = stored_reports(c, source[0].id) if source and kept is not None else []
    if kept is not None and reports:
        files = unpack_manifest(kept, decode(reports[0].payload))
        if files is not None:
            folder.write(f"{job_id}_{task}.manifest", output_files.manifest(files.items()))


def _signed_verdict(c: Coordinator, job_id: int, task: int, folder: _Folder) -> None:
    """Write the latest verdict on a task as the coordinator signed it, and those under other rules."""
    files = {f"{job_id}_{task}.vsa.json": signed for signed in stored_verdicts(c, job_id, task)[-1:]}
    for number, signed in enumerate(stored_again(c, job_id, task), 1):
        files[judged_file(job_id, task, number)] = signed
    for name, signed in files.items():
        key = key_id(own_key.public_at(c.store, c.signer, signed.signed_at))
        folder.write(name, signed.envelope(key) + b"\n")
