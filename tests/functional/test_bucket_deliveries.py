"""Deliveries into buckets that are cut anywhere, refused, slowed down, versioned or locked: whole at last, the marker last of all."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM, Home, ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bucket_server import Asked, BucketServer

JOB = (
    '[job]\nname = "sum"\ncommand = ["sh", "-c", "head -c 20000000 /dev/zero > big; echo 1 > small"]\n[quorum]\nagree = 1\n'
    '[[outputs]]\npath = "big"\n[[outputs]]\npath = "small"\n[results]\nto = "s3://data/there/{uuid}"\n'
)
MARKER = "tagmanifest-sha256.txt"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home that may deliver to the bucket, with a job whose results are not delivered yet."""
    with ended(Home(tmp_path)) as made:
        made.path.mkdir(mode=0o700)
        (made.path / "config.toml").write_text('[delivery]\nallow = "s3://data"\n')
        assert made.submit(JOB).code == 0
        done = made.call("wait", 1, env={"NEXAPOD_DELIVERY_ALLOW": "/elsewhere"})
        assert done.code == 0, done.err
        yield made


def names(bucket: BucketServer) -> set[str]:
    """Return what lies there, relative to the place of the delivery."""
    return {key.split("/", 2)[2] for key in bucket.objects}


def is_whole(home: Home, bucket: BucketServer) -> bool:
    """Say whether the delivery is noted, can be brought back, and holds, and whether nothing of it is left here."""
    assert home.json("show", 1)["job"]["delivery"]["state"] == "delivered"
    back = home.call("results", 1, "--pull", "--out", "back", env=bucket.environment)
    assert back.code == 0, back.err
    assert [file.name for file in home.path.iterdir() if file.name.startswith(".delivery")] == []
    return home.call("verify", home.folder / "back").code == 0


#: Where the program is killed: as soon as the bucket was asked for this.
CUTS: dict[str, Callable[[Asked], bool]] = {
    "before anything": lambda asked: asked.method == "HEAD",
    "a small result": lambda asked: asked.method == "PUT" and asked.key.endswith("/small"),
    "an upload that begins": lambda asked: asked.method == "POST" and "uploads" in asked.query,
    "a part of a large result": lambda asked: asked.query.get("partNumber") == "2",
    "the end of a large result": lambda asked: asked.method == "POST" and "uploadId" in asked.query,
    "a proof": lambda asked: asked.method == "PUT" and "/data/proof/" in asked.key,
    "the manifest": lambda asked: asked.method == "PUT" and asked.key.endswith("/manifest-sha256.txt"),
    "the signature": lambda asked: asked.method == "PUT" and asked.key.endswith(".sig"),
    "the marker": lambda asked: asked.method == "PUT" and asked.key.endswith(MARKER),
}


@pytest.mark.parametrize("where", CUTS)
def test_a_kill_in_the_middle(home: Home, bucket: BucketServer, where: str) -> None:
    """Nothing says that it is complete until it is; the next try goes on, and writes no result once more."""
    bucket.halts_at = CUTS[where]
    env = {**home.env, **bucket.environment}
    process = subprocess.Popen([PROGRAM, "results", "1", "--deliver"], env=env, cwd=home.folder, stderr=subprocess.PIPE)
    try:
        assert bucket.halted.wait(60), where
        assert not [name for name in names(bucket) if name == MARKER]
        process.send_signal(signal.SIGKILL)
    finally:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    bucket.halts_at = lambda _: False
    bucket.goes_on.set()
    again = home.call("results", 1, "--deliver", env=bucket.environment)
    assert again.code == 0, again.err
    assert is_whole(home, bucket)
    written = [key.split("/", 2)[2] for key, _ in bucket.versions]
    assert written[-1] == MARKER
    assert written.count(MARKER) == 1


#: What the bucket says from the first large result on -> what is told.
FAULTS: dict[str, tuple[int, str, str]] = {
    "no right to write": (403, "AccessDenied", "asks for a login"),
    "a login that expires": (400, "ExpiredToken", "is not good any more"),
    "keys that are wrong by now": (403, "InvalidAccessKeyId", "asks for a login"),
    "no bucket any more": (404, "NoSuchBucket", "does not exist"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_bucket_says_in_the_middle(home: Home, bucket: BucketServer, name: str) -> None:
    """It is told with the time of the next try; when it is mended, the delivery is completed."""
    status, code, wanted = FAULTS[name]
    bucket.refusal = lambda asked: (status, code) if asked.method in {"PUT", "POST"} and asked.key.endswith("/big") else None
    done = home.call("results", 1, "--deliver", env=bucket.environment)
    assert done.code == 1, done.err
    assert wanted in done.err
    assert MARKER not in names(bucket)
    assert "it is tried again at" in home.call("explain", 1).out
    bucket.refusal = lambda _: None
    assert home.call("results", 1, "--deliver", env=bucket.environment).code == 0
    assert is_whole(home, bucket)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_a_bucket_that_wants_to_be_asked_more_slowly(home: Home, bucket: BucketServer, status: int, code: str) -> None:
    """It is asked again after a while, and nobody hears of it."""
    refused: list[str] = []

    def now_and_then(asked: Asked) -> tuple[int, str] | None:
        refused.append(str(asked))
        return (status, code) if len(refused) % 2 else None

    bucket.refusal = now_and_then
    done = home.call("results", 1, "--deliver", env=bucket.environment)
    assert done.code == 0, done.err
    bucket.refusal = lambda _: None
    assert is_whole(home, bucket)


@pytest.mark.parametrize("is_locked", [False, True])
def test_a_bucket_that_keeps_every_version(home: Home, bucket: BucketServer, *, is_locked: bool) -> None:
    """Each object is written once, also where it cannot be removed any more: S3 wants a checksum with it then."""
    bucket.is_locked = is_locked
    done = home.call("results", 1, "--deliver", env=bucket.environment)
    assert done.code == 0, done.err
    assert is_whole(home, bucket)
    written = [key for key, _ in bucket.versions]
    assert sorted(written) == sorted(set(written))
    assert home.call("results", 1, "--deliver", env=bucket.environment).code == 0
    assert len(bucket.versions) == len(written)
