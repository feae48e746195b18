"""Verifying statements against PyNaCl's bare verification; digesting files against hashlib and sha256sum."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

from common import alternate, header, line
from nacl.bindings import crypto_sign_open

from nexapod_batch.files import output_files
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.dsse import Signer, open_envelope, pae, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement, Subject, vote_of
from nexapod_batch.trust.statement_decoder import decode
from nexapod_batch.trust.statement_encoder import encode

COUNT = 4_000
EMPTY = hashlib.sha256(b"").hexdigest()


def statement(signer: Signer, number: int) -> Statement:
    """Return the statement of a small replica."""
    return Statement(
        job_uuid="0192f0c1-2345-7890-abcd-0123456789ab", job_digest=EMPTY, replica=ReplicaName(1, number, 1), nonce="0" * 32,
        agree=2, distinct=("node",), backend="local", native_id="", host="host", isolation="none",
        classes={"os-arch": "linux-x86_64"}, outcome=Outcome.OK, detail="", exit_code=0, wall_ms=1, cpu_ms=1, max_rss_kib=1000,
        output_bytes=0, started_ms=1, finished_ms=2, builder=signer.key_id, subjects=(Subject(name="stdout", sha256=EMPTY, normalized=None),),
        manifest=False, inputs=(), stdout_sha256=EMPTY, stderr_sha256=EMPTY, vote=vote_of([("stdout", EMPTY)]),
    )  # fmt: skip


def verification() -> None:
    """Compare opening and decoding with the bare signature check of the same bytes."""
    signer = Signer.from_seed(b"\7" * 32)
    payloads = [encode(statement(signer, number)) for number in range(COUNT)]
    envelopes = [seal(signer, PAYLOAD_TYPE, payload) for payload in payloads]
    signed = [signer.sign(pae(PAYLOAD_TYPE, payload)) + pae(PAYLOAD_TYPE, payload) for payload in payloads]
    keys = {signer.key_id: signer.public}

    def ours() -> float:
        start = time.perf_counter()
        for envelope in envelopes:
            decode(open_envelope(envelope, PAYLOAD_TYPE, keys).payload)
        return time.perf_counter() - start

    def bare() -> float:
        start = time.perf_counter()
        for message in signed:
            crypto_sign_open(message, signer.public)
        return time.perf_counter() - start

    left, right = alternate(7, ours, bare)
    line("parse and verify a statement", f"{COUNT / left:.0f}/s", f"{COUNT / right:.0f}/s (PyNaCl)", right / left, ">= 0.6")


def digests() -> None:
    """Compare digesting one large file and many small ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "large").open("wb") as stream:
            for _ in range(2048):
                stream.write(os.urandom(1024) * 1024)

        def ours() -> float:
            start = time.perf_counter()
            output_files.digest_tree(folder, ["large"])
            return time.perf_counter() - start

        def bare() -> float:
            start = time.perf_counter()
            with (folder / "large").open("rb") as stream:
                hashlib.file_digest(stream, "sha256")
            return time.perf_counter() - start

        left, right = alternate(3, ours, bare)
        line("digest of one 2 GiB file", f"{2 / left:.2f} GiB/s", f"{2 / right:.2f} GiB/s (hashlib)", right / left, ">= 0.9")
        (folder / "large").unlink()
        small = folder / "small"
        small.mkdir()
        names = [f"{number:05}" for number in range(20_000)]
        for one in names:
            (small / one).write_bytes(os.urandom(2048))
        processes = os.cpu_count() or 1

        def many() -> float:
            start = time.perf_counter()
            output_files.digest_tree(small, names, processes=processes)
            return time.perf_counter() - start

        def find() -> float:
            start = time.perf_counter()
            found = subprocess.Popen(["find", ".", "-type", "f", "-print0"], cwd=small, stdout=subprocess.PIPE)
            subprocess.run(["xargs", "-0", "-P", str(processes), "-n", "1000", "sha256sum"], cwd=small, stdin=found.stdout, stdout=subprocess.DEVNULL, check=True)
            found.wait()
            return time.perf_counter() - start

        left, right = alternate(5, many, find)
        line("digests of 20,000 files of 2 kB", f"{20_000 / left:.0f}/s", f"{20_000 / right:.0f}/s (find, xargs -P {processes}, sha256sum)", right / left, ">= 1")


if __name__ == "__main__":
    header()
    verification()
    digests()
