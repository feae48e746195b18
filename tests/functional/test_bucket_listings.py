"""Patterns in buckets of any size, with whatever keys: bounded, told early, and no key becomes another file's name."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bucket_server import BucketServer

JOB = (
    '[job]\ncommand = ["sh", "-c", "cd in && find . -type f | LC_ALL=C sort > ../out"]\n[quorum]\nagree = 1\n'
    '[[inputs]]\nsource = "s3://data/%s"\ntarget = "in"\n[[outputs]]\npath = "out"\n'
)
#: Lists a pattern; prints how that ended, and the most memory that it took, in KiB, before and after.
LISTING = """
import os, resource, sys
from nexapod_batch.errors import NexapodError
from nexapod_batch.sources import SourceSettings
from nexapod_batch.sources.s3 import S3Source
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
try:
    S3Source().listed(sys.argv[1], 20_000, SourceSettings(environ=dict(os.environ)))
except NexapodError as error:
    print(str(error))
print(peak() - before)
"""


class Endless:
    """Keys that nobody wrote down: `many/0000000` and so on."""

    def __init__(self, count: int) -> None:
        """Have so many."""
        self._count = count

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __getitem__(self, at: slice) -> list[str]:
        """Return some of them."""
        return [f"many/{number:07d}" for number in range(*at.indices(self._count))]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home of its own."""
    with ended(Home(tmp_path)) as made:
        yield made


@pytest.mark.parametrize(("pattern", "pages", "wanted"), [
    ("**", 21, "got 21000 objects so far, of 21000 keys"), ("many/*", 21, "got 21000 objects so far, of 21000 keys"),
    ("many/9999*", 101, "got 0 objects so far, of 101000 keys"),
])  # fmt: skip
def test_a_million_keys(bucket: BucketServer, pattern: str, pages: int, wanted: str) -> None:
    """As soon as too many are seen it is told, after so many pages, and the rest is never asked for, nor kept."""
    bucket.keys = Endless(1_000_000)
    argv = [sys.executable, "-c", LISTING, f"s3://data/{pattern}"]
    done = subprocess.run(argv, env=bucket.environment, capture_output=True, text=True, check=True)
    *said, grown = done.stdout.splitlines()
    assert wanted in " ".join(said)
    assert len(bucket.asked) == pages
    assert int(grown) < 64 << 10  # a million keys would take more than 200 MiB


#: Keys that a pattern may take, and what the job gets.
TAKEN: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "marks of folders": (["a/", "a/x", "empty/", "b"], ["./a/x", "./b"]),
    "umlauts composed and decomposed": (["\u00fc", "u\u0308"], ["./u\u0308", "./\u00fc"]),
    "upper and lower case": (["A", "a"], ["./A", "./a"]),
    "what URLs and patterns spell otherwise": (["a b", "a+b", "a#b", "a?b", "a%2Fb", "a*b", "{task}", "~x"],
                                               ["./a b", "./a#b", "./a%2Fb", "./a*b", "./a+b", "./a?b", "./{task}", "./~x"]),
    "the longest key": (["/".join(["k" * 204] * 5)], ["./" + "/".join(["k" * 204] * 5)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_keys_that_are_names_of_files(home: Home, bucket: BucketServer, name: str) -> None:
    """Each is a file of its own, under the very name that it has there; marks of folders are no files."""
    keys, wanted = TAKEN[name]
    bucket.objects = {key: b"" if key.endswith("/") else b"x" for key in keys}
    done = home.call("submit", home.descriptor(JOB % "**"), "--wait", env=bucket.environment)
    assert done.code == 0, done.err
    assert (home.path / "results/1/0/out").read_text().splitlines() == list(wanted)


#: Keys, the pattern -> what is said.
REFUSED: dict[str, tuple[Sequence[str], str, str]] = {
    "a way out": (["a", "b/../../c"], "**", "has a key that is no plain path"),
    "an empty part": (["a", "b//c"], "**", "has a key that is no plain path"),
    "an empty first part": (["/a"], "**", "s3://data/a does not exist"),
    "NUL": (["a\0b"], "**", "cannot be listed"),
    "a dot": (["a", "./b"], "**", "has a key that is no plain path"),
    "a newline": (["a", "b\nc"], "**", "no plain path"),
    "a tab": (["a\tb"], "**", "no plain path"),
    "DEL": (["a\x7fb"], "**", "no plain path"),
    "a part that no name has": (["/".join(["k" * 300] * 3)], "**", "a key with a longer part"),
    "a file and its folder": (["a", "a/b"], "**", "one input is put at in/a, and another one below it: got in/a/b"),
    "an empty file and its folder": (["a", "a/b"], "**", "one input is put at in/a, and another one below it: got in/a/b"),
    "nothing but marks of folders": (["a/", "b/"], "**", "takes no object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_keys_that_no_file_can_have(home: Home, bucket: BucketServer, name: str) -> None:
    """They are told as what they are, and nothing is fetched or stored."""
    keys, pattern, wanted = REFUSED[name]
    bucket.objects = {key: b"" if key.endswith("/") or name.startswith("an empty file") else b"x" for key in keys}
    done = home.call("submit", home.descriptor(JOB % pattern), env=bucket.environment)
    assert done.code == 65, done.err
    assert wanted in done.err
    assert home.jobs() == []


def test_odd_keys_elsewhere_do_not_matter(home: Home, bucket: BucketServer) -> None:
    """A pattern with a folder of its own has nothing to do with those outside of it."""
    bucket.objects = {"odd//key": b"x", "good/a": b"x"}
    done = home.call("submit", home.descriptor(JOB % "good/*"), "--wait", env=bucket.environment)
    assert done.code == 0, done.err
    assert (home.path / "results/1/0/out").read_text() == "./a\n"


def test_nothing_is_left_beside_what_was_fetched(home: Home, bucket: BucketServer) -> None:
    """Neither locks nor parts of files, however many there were."""
    bucket.objects = {f"set/{number}": b"%d" % number for number in range(50)}
    assert home.call("submit", home.descriptor(JOB % "set/*"), env=bucket.environment).code == 0
    assert [file.name for file in (home.path / "inputs").iterdir() if file.name.startswith(".")] == []
