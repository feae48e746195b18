"""Inputs from a bucket of SeaweedFS, and results in it: another server than moto's, with storage of its own."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import pytest
from homes import Home, ended
from obstore.exceptions import BaseError
from obstore.store import S3Store
from spools import until

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = bytes(range(256)) * 80_000  # 20 MB: three parts of an upload
DIGEST = hashlib.sha256(DATA).hexdigest()
JOB = '[job]\ncommand = ["cp", "in", "out"]\n[quorum]\ndistinct = "run"\n[[inputs]]\nsource = "s3://data/deep/in"\n[[outputs]]\npath = "out"\n'
LOGIN = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret"}
SERVERS = ("master", "volume", "filer", "s3")


def ports(count: int) -> list[str]:
    """Return ports of the loopback that nobody has."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [str(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the environment by which the server's buckets are reached; it ends with the module."""
    folder = tmp_path_factory.mktemp("weed")
    who = {"name": "me", "credentials": [{"accessKey": "me", "secretKey": "secret"}], "actions": ["Admin", "Read", "List", "Write"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [who]}))
    given = iter(ports(2 * len(SERVERS)))
    words = [f"-{name}.port{grpc}={next(given)}" for name in SERVERS for grpc in ("", ".grpc")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("weed"), "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
             "-master.telemetry=false", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0",
             "-volume.max=20", "-master.volumeSizeLimitMB=64", *words],
            stdout=log, stderr=log, cwd=folder, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
    url = f"http://127.0.0.1:{words[-2].partition('=')[2]}"
    try:
        yield {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", **LOGIN}
    finally:
        server.kill()  # asked to end, it waits for its own parts
        server.wait()
        for word in words:
            for left in Path("/tmp").glob(f"seaweedfs-*-{word.partition('=')[2]}.sock"):  # noqa: S108 - it puts them there
                left.unlink(missing_ok=True)


@pytest.fixture
def bucket(endpoint: dict[str, str]) -> S3Store:
    """Return a bucket with an object, once the server takes one."""
    store = S3Store(
        "data", endpoint=endpoint["AWS_ENDPOINT_URL"], region="us-east-1", access_key_id="me", secret_access_key="secret",  # noqa: S106
        client_options={"allow_http": True},
    )  # fmt: skip

    def takes() -> bool:
        try:
            obstore.put(store, "deep/in", DATA)
        except (BaseError, OSError):
            return False
        return True

    until(takes, "the server to take an object")
    return store


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home of its own, which may deliver to the bucket."""
    with ended(Home(tmp_path)) as made:
        made.path.mkdir(mode=0o700)
        (made.path / "config.toml").write_text('[delivery]\nallow = "s3://data"\n')
        yield made


@pytest.mark.slow
def test_an_object_comes_and_results_go(home: Home, endpoint: dict[str, str], bucket: S3Store) -> None:
    """Sent in parts, pinned, delivered in parts with the marker last, and brought back; a second delivery replaces nothing."""
    done = home.call("submit", home.descriptor(JOB + '[results]\nto = "s3://data/there"\n'), "--wait", env=endpoint)
    assert done.code == 0, done.err
    assert f'to pin it: sha256 = "{DIGEST}"' in done.err
    assert home.json("show", 1)["job"]["delivery"]["state"] == "delivered"
    (place,) = {str(entry["path"]).split("/")[1] for page in obstore.list(bucket, "there") for entry in page}
    assert bytes(obstore.get(bucket, f"there/{place}/data/results/0/out").bytes()) == DATA
    back = home.call("results", 1, "--pull", "--out", "back", env=endpoint)
    assert back.code == 0, back.err
    assert home.call("verify", home.folder / "back").code == 0
    marker = bytes(obstore.get(bucket, f"there/{place}/tagmanifest-sha256.txt").bytes())
    again = home.call("results", 1, "--deliver", env=endpoint)
    assert again.code == 0, again.err
    assert bytes(obstore.get(bucket, f"there/{place}/tagmanifest-sha256.txt").bytes()) == marker


@pytest.mark.slow
@pytest.mark.parametrize(("source", "wanted"), [
    ("s3://data/nothing", "s3://data/nothing does not exist"), ("s3://nowhere/in", "s3://nowhere/in does not exist"),
])  # fmt: skip
def test_what_is_not_there(home: Home, endpoint: dict[str, str], bucket: S3Store, source: str, wanted: str) -> None:
    """It is told in the same words as of any other server."""
    assert bucket is not None
    done = home.call("submit", home.descriptor(JOB.replace("s3://data/deep/in", source)), env=endpoint)
    assert done.code == 65
    assert wanted in done.err


@pytest.mark.slow
def test_a_pattern(home: Home, endpoint: dict[str, str], bucket: S3Store) -> None:
    """Listings come in pages, sorted or not; each object is pinned."""
    for number in range(3):
        obstore.put(bucket, f"set/{number}.txt", f"{number}\n".encode())
    text = JOB.replace("s3://data/deep/in", "s3://data/set/*.txt").replace('"cp", "in", "out"', '"sh", "-c", "cat set/* > out"')
    done = home.call("submit", home.descriptor(text.replace("[[outputs]]", 'target = "set"\n[[outputs]]')), "--wait", env=endpoint)
    assert done.code == 0, done.err
    assert (home.path / "results/1/0/out").read_text() == "0\n1\n2\n"
