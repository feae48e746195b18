"""The page for readers who use nothing of ours: its commands, as they stand, on an archive; and what they notice."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import Home

from nexapod_batch.files import keyfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = Path(__file__).parents[2] / "docs/how-to/check-by-hand.md"
COMMANDS = "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
JOB = '[job]\nname = "pi"\ncommand = ["sh", "-c", "echo 3.14 > pi.txt; echo 22/7 > fraction.txt"]\n[[outputs]]\npath = "*.txt"\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with two nodes and an archived job."""
    one = Home(tmp_path_factory.mktemp("hand"))
    for name in ("alice", "bob"):
        assert one.call("node", "init", "--name", name, "--owner", name).code == 0
    assert one.submit(JOB, "--wait").code == 0
    assert one.call("archive", 1, "--out", one.folder / "1.tar").code == 0
    yield one
    one.end()


@pytest.fixture
def reader(home: Home, tmp_path: Path) -> Path:
    """Return the folder of a reader: the archive, the keys of the nodes of both replicas, and the UUID of the job."""
    task = home.json("show", "1_0")["tasks"][0]
    for name, one in zip(("one", "two"), sorted(task["replicas"], key=lambda row: str(row["id"])), strict=True):
        (tmp_path / f"{name}.pem").write_text(home.call("key", "export", one["node"], "--format", "pem").out)
    document = home.json("archive", "show", home.folder / "1.tar")
    (tmp_path / "uuid").write_text(document["uuid"])
    shutil.copy(home.folder / "1.tar", tmp_path / f"nexapod-{document['uuid']}.tar")
    return tmp_path


def walk(reader: Path, *, uuid: str = "") -> subprocess.CompletedProcess[str]:
    """Run every command of the page, with nothing of ours in reach."""
    env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "UUID": uuid or (reader / "uuid").read_text()}
    argv = ["sh", "-eu", "-c", COMMANDS]
    return subprocess.run(argv, cwd=reader, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_every_command_holds_as_it_stands(reader: Path) -> None:
    """Signatures of both nodes, the coordinator and the ledger; the binding to the job; agreement, files and proofs."""
    done = walk(reader)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Signature Verified Successfully") == 7
    assert "both signed the same outputs" in done.stdout
    assert "pi.txt: OK" in done.stdout
    assert "PASSED NEXAPOD_QUORUM_2_OF_2" in done.stdout
    assert "every proof leads to the head" in done.stdout


def change(home: Home, reader: Path, what: Callable[[Path], None]) -> None:
    """Change something inside the archive, and sign it again with the coordinator's own key: it is the one who cheats."""
    (archive,) = reader.glob("nexapod-*.tar")
    inside = reader / "inside"
    shutil.unpack_archive(archive, inside, filter="data")
    (bag,) = inside.iterdir()
    what(bag)
    signer = keyfile.load(home.path / "keys/coordinator")
    for folder, manifest in ((bag / "data/proof", "manifest"), (bag, "manifest"), (bag, "tagmanifest")):
        path = folder / f"{manifest}-sha256.txt"
        names = [line.partition("  ")[2] for line in path.read_text().splitlines()]
        there = [name for name in names if (folder / name).exists()]
        path.write_bytes(subprocess.run(["sha256sum", "--", *there], cwd=folder, capture_output=True, check=True).stdout)
        if path.with_suffix(".sig").exists():
            path.with_suffix(".sig").write_bytes(signer.sign(path.read_bytes()))
    subprocess.run(["tar", "-cf", archive, bag.name], cwd=inside, check=True)
    shutil.rmtree(inside)


def leave_out_statement(bag: Path) -> None:
    """Take a statement away."""
    (bag / "data/proof/1_0.2.dsse.json").unlink()


def one_for_both(bag: Path) -> None:
    """Let one node speak for the other."""
    for kind in ("dsse", "delegation"):
        shutil.copy(bag / f"data/proof/1_0.1.{kind}.json", bag / f"data/proof/1_0.2.{kind}.json")


def other_job(bag: Path) -> None:
    """Ask for less than the nodes were told."""
    path = bag / "data/proof/job.json"
    path.write_text(path.read_text().replace('"agree":2', '"agree":1'))


def other_result(bag: Path) -> None:
    """Change a published file."""
    (bag / "data/results/0/pi.txt").write_text("3.15\n")


def other_proof(bag: Path) -> None:
    """Prove another entry than the one that is there."""
    path = bag / "data/proof/1_0.verdict.tlog-proof"
    path.write_text(re.sub(r"(?m)^index (\d+)$", lambda found: f"index {int(found[1]) - 1}", path.read_text()))


ATTACKS: list[tuple[Callable[[Path], None], str]] = [
    (leave_out_statement, "No such file or directory: 'archive/data/proof/1_0.2.dsse.json'"),
    (one_for_both, "Signature Verification Failure"),
    (other_job, "1_0.1 job digest DOES NOT HOLD"),
    (other_result, "pi.txt: FAILED"),
    (other_proof, "1_0.verdict.tlog-proof: that entry is not in the ledger"),
]


@pytest.mark.parametrize(("what", "words"), ATTACKS, ids=[what.__name__ for what, _ in ATTACKS])
def test_what_the_coordinator_changed_stops_it(home: Home, reader: Path, what: Callable[[Path], None], words: str) -> None:
    """Although it signed everything anew: what nodes signed, and what the ledger had, it cannot."""
    change(home, reader, what)
    done = walk(reader)
    assert done.returncode == 1
    assert words in done.stdout + done.stderr


def test_keys_of_others_stop_it(reader: Path) -> None:
    """A statement counts only by the key that its node's owner gave."""
    (reader / "one.pem").write_text((reader / "two.pem").read_text())
    done = walk(reader)
    assert done.returncode == 1
    assert "Signature Verification Failure" in done.stdout + done.stderr


def test_a_statement_of_another_job_stops_it(reader: Path) -> None:
    """Whatever it is worth: it is not the job that was published."""
    done = walk(reader, uuid="01a22b15-bc72-76cf-8453-faa750cb078e")
    assert done.returncode == 1
    assert "1_0.1 job DOES NOT HOLD" in done.stdout
