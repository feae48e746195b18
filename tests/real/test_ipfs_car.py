"""Files that `ipfs-car` packs, the program of IPFS's own people, fetched by a gateway that serves what it wrote."""

from __future__ import annotations

import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from gateways import Gateway, serving

from nexapod_batch.errors import NexapodError
from nexapod_batch.sources import SourceSettings
from nexapod_batch.sources.fetching import fetch
from nexapod_batch.sources.ipfs import IpfsSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DICE = random.Random(5)  # noqa: S311 - the same each time
#: What is packed: names, and their bytes.
FILES = {
    "a.txt": b"hello\n",
    "empty": b"",
    "one block": DICE.randbytes(1 << 20),
    "one block and a byte": DICE.randbytes((1 << 20) + 1),
    "sub/deep/several blocks": DICE.randbytes(5_500_000),
    "sub/\u00fcml\u00e4ut #1 50%?.dat": b"odd name\n",
    "sub/blocks that repeat": b"r" * (3 << 20),
}


class Quiet:
    """Progress that nobody hears."""

    def start(self, *_: object) -> None:
        """Say nothing."""

    def advance(self, _: int) -> None:
        """Say nothing."""

    def say(self, _: str) -> None:
        """Say nothing."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Yield a gateway."""
    with serving(b"") as made:
        yield made


def packed(place: Path, *options: str) -> tuple[str, bytes]:
    """Pack a file or a folder; return the CID that was printed, and the CAR."""
    program = shutil.which("ipfs-car")
    assert program is not None, "bin/test installs it"
    car = place.with_name(f"{place.name}.car")
    done = subprocess.run([program, "pack", place, *options, "--output", car], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1], car.read_bytes()


def brought(gateway: Gateway, folder: Path, path: str) -> bytes:
    """Fetch what a path names; return its bytes."""
    from urllib.parse import quote

    folder.mkdir(exist_ok=True)
    settings = SourceSettings(gateways=(gateway.url,), scratch=folder)
    url = f"ipfs://{quote(path)}"
    assert IpfsSource().refusal(url) == ""
    return (folder / fetch(IpfsSource(), url, folder, settings, Quiet(), pause=lambda _: None)).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--no-wrap",)], ids=["wrapped", "no wrap"])
def test_a_folder(gateway: Gateway, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Each of its files, however many blocks it has; the folder itself is no file."""
    for name, data in FILES.items():
        file = tmp_path / "packed" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    root, gateway.body = packed(tmp_path / "packed", *options)
    for name, data in FILES.items():
        assert brought(gateway, tmp_path / "kept", f"{root}/{name}") == data, name
    with pytest.raises(NexapodError, match="it is a directory: name one file of it"):
        brought(gateway, tmp_path / "kept", root)
    with pytest.raises(NexapodError, match="there is no 'nothing' in it"):
        brought(gateway, tmp_path / "kept", f"{root}/nothing")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_by_itself(gateway: Gateway, tmp_path: Path, name: str) -> None:
    """Its CID alone names it where it was not wrapped; else it lies in a folder that has nothing else."""
    file = tmp_path / name.rpartition("/")[2]
    file.write_bytes(FILES[name])
    cid, gateway.body = packed(file, "--no-wrap")
    assert brought(gateway, tmp_path / "kept", cid) == FILES[name]
    cid, gateway.body = packed(file)
    assert brought(gateway, tmp_path / "kept", f"{cid}/{file.name}") == FILES[name]


@pytest.mark.slow
def test_a_folder_that_is_sharded(gateway: Gateway, tmp_path: Path) -> None:
    """It is told as one, with the way out; its files are there under their own CIDs."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1_500):
        (folder / f"{number}").write_bytes(b"%d" % number)
    root, gateway.body = packed(folder, "--no-wrap")
    with pytest.raises(NexapodError, match="a sharded directory"):
        brought(gateway, tmp_path / "kept", f"{root}/7")
    cid, _ = packed(folder / "7", "--no-wrap")
    assert brought(gateway, tmp_path / "kept", cid) == b"7"
