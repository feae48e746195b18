"""Second verdicts in archives, proofs and backups: their files go with them, and whatever is changed is found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from functional.test_archive import sign_again
from homes import Home, ended

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.check import verify_archive
from nexapod_batch.files import keyfile

if TYPE_CHECKING:
    from collections.abc import Iterator

#: One task with a file of noise, one with so many files that the digest of their manifest alone is signed.
JOB = """[job]
name = "noisy"
command = ["sh", "-c", "n=1; while ! mkdir {flag}/{task}.$n 2>/dev/null; do n=$((n+1)); done; mkdir d; echo x,1.0000000000$n > d/a.csv; test {task} = 0 || for i in $(seq 120); do echo $i.0000000000$n > d/$i.csv; done"]
[array]
ids = "0-1"
[quorum]
max_replicas = 3
distinct = "run"
[[outputs]]
path = "d/*.csv"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with a job whose tasks were accepted by another rule alone, its proof and its archive."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "flag").mkdir()
    with ended(Home(folder), "mine") as made:
        assert made.submit(JOB.replace("{flag}", str(folder / "flag")), "--wait=90s").code == 3
        assert made.call("judge", "1", "--compare", "significant", "--digits", "8").code == 0
        assert made.call("attestations", "1", "--out", "proof").code == 0
        for name in ("bag", "bag.tar"):
            done = made.call("archive", "1", "--out", name)
            assert done.code == 0, done.out + done.err
        yield made


def problems(path: Path) -> str:
    """Return what is found wrong in an archive; "" when everything holds."""
    document = verify_archive(path, {})
    assert document["ok"] == all(check["ok"] for check in document["checks"])
    return "; ".join(str(check["problem"]) for check in document["checks"] if not check["ok"])


def test_archives_hold_the_files_and_hold(home: Home) -> None:
    """As a folder and as a tar; what lies there is what lies with the results."""
    for task, count in ((0, 1), (1, 121)):
        kept = sorted((home.folder / f"bag/data/results/{task}.judged-1/d").iterdir())
        assert len(kept) == count
        for file in kept:
            assert file.read_bytes() == (home.path / f"results/1/{task}.judged-1/d" / file.name).read_bytes()
    assert problems(home.folder / "bag") == ""
    assert problems(home.folder / "bag.tar") == ""
    subprocess.run(["sha256sum", "--check", "--quiet", bag.TAGS, bag.MANIFEST], cwd=home.folder / "bag", check=True)


@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize("how", ["changed", "one more", "one less"])
def test_a_file_that_was_not_signed_is_found_whoever_signs_the_archive(
    home: Home, tmp_path: Path, task: int, how: str
) -> None:
    """The coordinator itself cannot put another result in the place of the one that a replica signed."""
    folder = Path(shutil.copytree(home.folder / "bag", tmp_path / "bag"))
    kept = folder / f"data/results/{task}.judged-1/d"
    if how == "changed":
        (kept / "a.csv").write_text("x,2\n")
    elif how == "one more":
        (kept / "b.csv").write_text("x,2\n")
    else:
        (kept / "a.csv").rename(kept / "c.csv")
    assert problems(folder) != ""
    sign_again(folder, keyfile.load(home.path / "keys/coordinator"))
    assert f"{task}.judged-1: " in problems(folder)


def test_files_of_a_verdict_that_there_is_not_belong_to_nothing(home: Home, tmp_path: Path) -> None:
    """A folder of verdict 2, where there was one."""
    folder = Path(shutil.copytree(home.folder / "bag", tmp_path / "bag"))
    (folder / "data/results/0.judged-1").rename(folder / "data/results/0.judged-2")
    sign_again(folder, keyfile.load(home.path / "keys/coordinator"))
    assert "belongs to nothing in the proof" in problems(folder)


def checked(home: Home, folder: Path) -> tuple[int, str]:
    """Return what `check.py` in a proof says, which has nothing of ours."""
    keys = [str(path) for path in sorted(folder.glob("*.pem"))]
    argv = [sys.executable, "-I", "-S", "check.py", *[word for key in keys for word in ("--key", key)]]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_script_in_a_proof_knows_second_verdicts(home: Home, tmp_path: Path) -> None:
    """It says the rules, and that the coordinator signed; a verdict that is changed or left out is found."""
    code, said = checked(home, home.folder / "proof")
    assert code == 0, said
    assert "1_0.judged-1: accepted under other rules, which the job did not name: " in said
    assert '"digits": 8' in said
    for how in ("left out", "changed", "without its proof"):
        folder = Path(shutil.copytree(home.folder / "proof", tmp_path / how))
        file = folder / "1_0.judged-1.vsa.json"
        if how == "left out":
            file.unlink()
        elif how == "changed":
            document = json.loads(file.read_text())
            document["payload"] = document["payload"][:-8] + "AAAA" + document["payload"][-4:]
            file.write_text(json.dumps(document))
        else:
            (folder / "1_0.judged-1.tlog-proof").unlink()
        code, said = checked(home, folder)
        assert (code, "1_0.judged-1: the verdict is not proved" in said) == (1, True), how


def test_backups_have_the_files(home: Home, tmp_path: Path) -> None:
    """What comes back holds as before."""
    home.json("backup", tmp_path / "b.tar.gz", "--results")
    there = Home(tmp_path, "there")
    there.json("db", "restore", tmp_path / "b.tar.gz")
    assert (there.path / "results/1/0.judged-1/d/a.csv").exists()
    done = there.call("verify", "1")
    assert done.code == 0, done.out
