"""Inputs from S3, with a real server that speaks it: pinned, fetched once, of a version, and refused where they are not there."""

from __future__ import annotations

import hashlib
import http.client
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
import pytest
from homes import Home, ended
from moto_server import s3_server
from obstore.store import S3Store

from nexapod_batch.sources import SourceError, SourceSettings
from nexapod_batch.sources.buckets import open_store
from nexapod_batch.sources.s3 import S3Source

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = b"0123456789" * 500_000
DIGEST = hashlib.sha256(DATA).hexdigest()
JOB = '[job]\ncommand = ["sh", "-c", "sha256sum < in > out"]\n[quorum]\ndistinct = "run"\n[[outputs]]\npath = "out"\n'


@pytest.fixture(scope="module")
def endpoint() -> Iterator[dict[str, str]]:
    """Yield the environment by which a server of a bucket is reached; it ends with the module."""
    with s3_server() as environ:
        yield environ


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home of its own."""
    with ended(Home(tmp_path)) as made:
        yield made


@pytest.fixture
def bucket(endpoint: dict[str, str]) -> S3Store:
    """Return a bucket with one object."""
    store = S3Store(
        "data", endpoint=endpoint["AWS_ENDPOINT_URL"], region="us-east-1", access_key_id="me",
        secret_access_key=endpoint["AWS_SECRET_ACCESS_KEY"],        client_options={"allow_http": True},
    )  # fmt: skip
    obstore.put(store, "deep/state.bin", DATA)
    return store


def job(home: Home, source: str, more: str = "") -> Path:
    """Write a descriptor with one input."""
    return home.descriptor(f'{JOB}[[inputs]]\nsource = "{source}"\ntarget = "in"\n{more}')


def test_an_object_is_an_input(home: Home, endpoint: dict[str, str], bucket: S3Store) -> None:
    """It is fetched at submit, what would pin it is told, and the statements name its digest."""
    looked = home.call("submit", job(home, "s3://data/deep/state.bin"), "--dry-run", env=endpoint)
    assert "# s3://data/deep/state.bin is fetched at submit" in looked.out
    done = home.call("submit", job(home, "s3://data/deep/state.bin"), "--wait", env=endpoint)
    assert done.code == 0, done.err
    assert f'to pin it: sha256 = "{DIGEST}"' in done.err
    assert (home.path / "results/1/0/out").read_text().split()[0] == DIGEST
    assert home.call("verify", 1).code == 0
    obstore.delete(bucket, "deep/state.bin")
    again = home.call("submit", job(home, "s3://data/deep/state.bin", f'sha256 = "{DIGEST}"\n'), "--wait", env=endpoint)
    assert again.code == 0, again.err  # nothing travels


@pytest.mark.parametrize(("source", "more", "wanted"), [
    ("s3://data/nothing", "", "s3://data/nothing does not exist"),
    ("s3://nowhere/deep/state.bin", "", "s3://nowhere/deep/state.bin does not exist"),
    ("s3://data/deep/state.bin", f'sha256 = "{"0" * 64}"\n', "is not what was meant"),
    ("s3://data/deep/../x", "", "its key names no object"),
    ("s3://data", "", "its key names no object"),
    ("s3://me:secret@data/x", "", "without a login"),
    ("s3://data/x?signature=1", "", "?versionId=ID and nothing else"),
])  # fmt: skip
def test_what_is_refused(home: Home, endpoint: dict[str, str], bucket: S3Store, source: str, more: str, wanted: str) -> None:
    """At submit, with the reason; nothing is stored."""
    assert bucket is not None
    done = home.call("submit", job(home, source, more), env=endpoint)
    assert done.code == 65
    assert wanted in done.err
    assert home.jobs() == []


def test_a_pattern_takes_objects(home: Home, endpoint: dict[str, str], bucket: S3Store) -> None:
    """Each is pinned, and put in the target folder under what the pattern leaves open of its name."""
    for key in ("set/a/1.npy", "set/a/b c.npy", "set/b/2.npy", "set/b/2.txt"):
        obstore.put(bucket, key, key.encode())
    command = "cat in/*/*.npy > out"
    text = JOB.replace("sha256sum < in > out", command) + '[[inputs]]\nsource = "s3://data/set/**/*.npy"\ntarget = "in"\n'
    done = home.call("submit", home.descriptor(text), "--wait", env=endpoint)
    assert done.code == 0, done.err
    assert "inputs[0] is 3 files, as they are today" in done.err
    assert (home.path / "results/1/0/out").read_text() == "set/a/1.npyset/a/b c.npyset/b/2.npy"
    assert home.call("verify", 1).code == 0


def test_the_example_of_an_ensemble(home: Home, endpoint: dict[str, str], bucket: S3Store) -> None:
    """Its initial state comes from whatever server the environment names."""
    assert bucket is not None
    where = urlsplit(endpoint["AWS_ENDPOINT_URL"])
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    for name, body in (("nexapod-example", b""), ("nexapod-example/state", b"400000")):
        connection.request("PUT", f"/{name}", body)
        connection.getresponse().read()
    connection.close()
    done = home.call("submit", EXAMPLES / "ensemble-s3/job.toml", "--wait", env=endpoint)
    assert done.code == 0, done.err
    ends = [(home.path / f"results/1/{task}/end").read_text() for task in range(1, 9)]
    assert len(set(ends)) > 1


@pytest.mark.parametrize(("source", "more", "code", "wanted"), [
    ("s3://data/none/*.npy", 'target = "in"\n', 65, "takes no object"),
    ("s3://data/deep/*", "", 65, "wanted the folder that the files are put in"),
    ("s3://data/deep/*", f'target = "in"\nsha256 = "{"0" * 64}"\n', 65, "the source may be several files"),
    ("https://host.example/*.npy", 'target = "in"\n', 65, "https:// cannot be listed"),
    ("s3://nowhere/*", 'target = "in"\n', 65, "does not exist"),
])  # fmt: skip
def test_patterns_that_are_refused(
    home: Home, endpoint: dict[str, str], bucket: S3Store, source: str, more: str, code: int, wanted: str
) -> None:
    """At submit, with the reason; nothing is stored."""
    assert bucket is not None
    text = f'{JOB}[[inputs]]\nsource = "{source}"\n{more}'
    done = home.call("submit", home.descriptor(text), env=endpoint)
    assert (done.code, wanted in done.err) == (code, True), done.err
    assert home.jobs() == []


def test_a_listing_is_bounded(endpoint: dict[str, str], bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many objects are told as soon as they are seen, and so are too many keys that are looked through."""
    for name, value in endpoint.items():
        monkeypatch.setenv(name, value)
    for number in range(5):
        obstore.put(bucket, f"many/{number}", b"x")
    settings = SourceSettings(environ=endpoint)
    assert len(S3Source().listed("s3://data/many/*", 5, settings)) == 5
    with pytest.raises(SourceError, match="takes too many objects"):
        S3Source().listed("s3://data/many/*", 4, settings)
    monkeypatch.setattr("nexapod_batch.sources.s3._LOOKED_AT", 4)
    with pytest.raises(SourceError, match="looks through too many"):
        S3Source().listed("s3://data/many/0*", 4, settings)


@pytest.fixture
def here(endpoint: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Reach the server from this process."""
    for name, value in endpoint.items():
        monkeypatch.setenv(name, value)
    return endpoint


def test_an_object_that_changes_between_two_reads(here: dict[str, str], bucket: S3Store) -> None:
    """What came of another version is not gone on from: it is read from its beginning; the same version goes on."""
    settings = SourceSettings(environ=here)
    obstore.put(bucket, "changing", b"first version")
    with S3Source().open("s3://data/changing", 0, "", settings) as opened:
        version = opened.version
        assert b"".join(opened.blocks) == b"first version"
    with S3Source().open("s3://data/changing", 6, version, settings) as opened:
        assert (opened.start, b"".join(opened.blocks)) == (6, b"version")
    obstore.put(bucket, "changing", b"other version")
    with S3Source().open("s3://data/changing", 6, version, settings) as opened:
        assert (opened.start, b"".join(opened.blocks)) == (0, b"other version")
        assert opened.version != version


def test_a_version_that_is_named_stays_what_it_was(here: dict[str, str]) -> None:
    """`?versionId=` is an earlier one, whatever the object is today."""
    where = urlsplit(here["AWS_ENDPOINT_URL"])
    settings = SourceSettings(environ=here)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    said = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    for path, body in (("/versioned", b""), ("/versioned?versioning", said)):
        connection.request("PUT", path, body)
        connection.getresponse().read()
    connection.close()
    store = open_store("versioned", here)
    old = obstore.put(store, "x", b"old")["version"]
    obstore.put(store, "x", b"new")
    for url, wanted in (("s3://versioned/x", b"new"), (f"s3://versioned/x?versionId={old}", b"old")):
        with S3Source().open(url, 0, "", settings) as opened:
            assert b"".join(opened.blocks) == wanted


def test_without_a_login(here: dict[str, str], bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With AWS_SKIP_SIGNATURE no keys are sent, and what is not public says so at once."""
    obstore.put(bucket, "public", b"for some")
    for name in [name for name in here if "KEY" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    settings = SourceSettings(environ=dict(os.environ))
    with pytest.raises(SourceError, match="asks for a login"), S3Source().open("s3://data/public", 0, "", settings):
        pass


def test_nobody_answers(home: Home) -> None:
    """It is told where to look, after a while."""
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "x", "AWS_SKIP_SIGNATURE": "true"}
    done = home.call("submit", job(home, "s3://data/x"), env=env)
    assert done.code == 69
    assert "look at AWS_ENDPOINT_URL" in done.err


DELIVERED = JOB.replace("sha256sum < in > out", "head -c 20000000 /dev/zero > out") + '[results]\nto = "s3://data/{uuid}"\n'


@pytest.fixture
def allowed(home: Home) -> Home:
    """Return the home, which may deliver to the bucket."""
    home.path.mkdir(mode=0o700)
    (home.path / "config.toml").write_text('[delivery]\nallow = "s3://data"\n')
    return home


def delivered(bucket: S3Store, place: str) -> dict[str, bytes]:
    """Return the objects below a place, by their names there."""
    prefix = place.removeprefix("s3://data/")
    return {
        str(entry["path"]).removeprefix(f"{prefix}/"): bytes(obstore.get(bucket, entry["path"]).bytes())
        for page in obstore.list(bucket, prefix) for entry in page
    }  # fmt: skip


def test_results_are_delivered_to_a_bucket(allowed: Home, endpoint: dict[str, str], bucket: S3Store) -> None:
    """Large objects in parts; the last one completes it, and it is brought back and verified."""
    done = allowed.call("submit", allowed.descriptor(DELIVERED), "--wait", env=endpoint)
    assert done.code == 0, done.err
    delivery = allowed.json("show", 1)["job"]["delivery"]
    assert delivery["state"] == "delivered", delivery
    objects = delivered(bucket, delivery["place"])
    assert hashlib.sha256(objects["tagmanifest-sha256.txt"]).hexdigest() == delivery["sha256"]
    assert objects["data/results/0/out"] == bytes(20_000_000)
    back = allowed.call("results", 1, "--pull", "--out", "back", env=endpoint)
    assert back.code == 0, back.err
    assert allowed.call("verify", allowed.folder / "back").code == 0
    prefix = delivery["place"].removeprefix("s3://data/")
    obstore.put(bucket, f"{prefix}/data/results/0/out", bytes(19_999_999) + b"x")
    changed = allowed.call("results", delivery["place"], "--pull", "--out", "other", env=endpoint)
    assert changed.code == 1
    assert "data/results/0/out' of the delivery was changed" in changed.err
    assert not (allowed.folder / "other").exists()


@pytest.mark.parametrize(("name", "data", "code"), [
    ("tagmanifest-sha256.txt", b"somebody's", 1),  # a complete one
    ("data/results/0/out", b"something else", 1),
    ("data/results/0/out", bytes(20_000_000), 0),  # the same bytes: of a try that was killed
    ("data/proof/verdict.json", b"of a try that was killed", 0),
    ("elsewhere", b"not of a delivery", 0),
])  # fmt: skip
def test_what_lies_in_the_bucket(
    allowed: Home, endpoint: dict[str, str], bucket: S3Store, name: str, data: bytes, code: int
) -> None:
    """Another delivery is never replaced, and told; what an earlier try left of this one is completed."""
    assert allowed.call("submit", allowed.descriptor(DELIVERED), env=endpoint).code == 0
    done = allowed.call("wait", 1, env={**endpoint, "NEXAPOD_DELIVERY_ALLOW": "/elsewhere"})
    assert done.code == 0, done.err
    assert "results of job 1 cannot be delivered now" in done.err
    prefix = allowed.jobs()[0]["uuid"]
    obstore.put(bucket, f"{prefix}/{name}", data)
    again = allowed.call("results", 1, "--deliver", env=endpoint)
    assert again.code == code, again.err
    objects = delivered(bucket, f"s3://data/{prefix}")
    if code:
        assert "is another delivery" in again.err
        assert objects[name] == data
        assert ("tagmanifest-sha256.txt" in objects) == (name == "tagmanifest-sha256.txt")
    else:
        assert allowed.call("results", 1, "--pull", "--out", "back", env=endpoint).code == 0
