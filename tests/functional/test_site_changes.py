"""Sites that get another name or go: what becomes of nodes, keys, work and results, and what stands against it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import msgspec
import pytest
from damage import changes, copy_home, killed_at, settle
from homes import Home, ended
from living_folders import below, contents
from spools import until

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.commands import site_changes
from nexapod_batch.coordinator.context import open_coordinator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SITE = """schema = 1
[site]
name = "%s"
[scheduler]
type = "local"
[[partitions]]
name = "p"
tier = "cpu"
max_cpus = 2
max_mem = "1GiB"
"""
JOB = '[job]\nname = "j"\ncommand = ["sh", "-c", "echo 1 > a.txt"]\n[quorum]\ndistinct = "run"\n[[outputs]]\npath = "a.txt"\n'
STUCK = JOB.replace("echo 1 > a.txt", "while [ ! -e %s ]; do sleep 0.05; done; echo 1 > a.txt")


def site(home: Home, name: str, text: str = SITE) -> Path:
    """Write the file of a site."""
    file = home.path / "sites.d" / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    home.path.chmod(0o700)
    file.write_text(text % name)
    return file


def at_rest(home: Home) -> bool:
    """Run a pass, and say whether nothing stands against another name any more."""
    assert home.call("reconcile").code == 0
    return home.call("site", "rename", "alpha", "beta", "--dry-run").code == 0


@pytest.fixture
def alpha(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with a site alpha, on which a job was accepted, at rest."""
    with ended(Home(tmp_path)) as home:
        site(home, "alpha")
        assert home.submit(JOB, "--wait=30s").code == 0
        home.end()
        until(lambda: at_rest(home), "the launch to be over for the coordinator as well")
        settle(home)
        yield home


def test_a_renamed_site_takes_everything_along(alpha: Home) -> None:
    """Nodes, keys, spools and the file; what was signed verifies, the ledger holds, and the next job runs there."""
    key = (alpha.path / "keys/node-alpha").read_bytes()
    planned = alpha.json("site", "rename", "alpha", "beta", "--dry-run")
    assert (alpha.path / "sites.d/alpha.toml").exists()
    done = alpha.json("site", "rename", "alpha", "beta")
    assert {**done, "dry_run": True} == planned
    assert [(one["name"], one["site"]) for one in alpha.json("node", "ls")["nodes"]] == [("beta", "beta")]
    assert (alpha.path / "keys/node-beta").read_bytes() == key
    assert not list(alpha.path.rglob("*alpha*"))
    assert 'name = "beta"' in (alpha.path / "sites.d/beta.toml").read_text()
    assert alpha.call("verify", "1").code == 0
    assert alpha.call("ledger", "verify").code == 0
    assert alpha.submit(JOB, "--wait=30s").code == 0
    assert {one["node"] for one in alpha.json("show", "2")["tasks"][0]["replicas"]} == {"beta"}
    assert alpha.call("doctor").code == 0


def test_a_removed_site_leaves_its_record(alpha: Home) -> None:
    """Its node is drained and verifies; spool, work folders and file are gone from where they count."""
    planned = alpha.json("site", "remove", "alpha", "--dry-run")
    assert (planned["drained"], planned["deleted"]) == (["alpha"], [])
    assert alpha.spool("alpha").is_dir()
    assert {**alpha.json("site", "remove", "alpha"), "dry_run": True} == planned
    assert alpha.json("site", "ls")["sites"] == []
    assert not alpha.spool("alpha").exists()
    assert (alpha.path / "sites.d/alpha.toml.removed").exists()
    (node,) = alpha.json("node", "ls")["nodes"]
    assert (node["name"], node["active"]) == ("alpha", False)
    assert alpha.call("verify", "1").code == 0
    assert alpha.call("ledger", "verify").code == 0
    assert alpha.call("reconcile", "--exit-code").code == 0
    assert alpha.call("doctor").code == 0
    assert alpha.call("site", "remove", "nothing").code == 66


def test_a_site_that_never_ran_goes_whole(alpha: Home) -> None:
    """Node and key as well."""
    site(alpha, "new")
    assert alpha.submit(JOB, "--site", "alpha", "--wait=30s").code == 0
    assert (alpha.path / "keys/node-new").exists()
    assert alpha.json("site", "remove", "new")["deleted"] == ["new"]
    assert not list(alpha.path.glob("keys/node-new*"))
    assert [one["name"] for one in alpha.json("node", "ls")["nodes"]] == ["alpha"]


def test_what_is_out_stands_against_it(alpha: Home, tmp_path: Path) -> None:
    """Both are refused while replicas run there, and nothing changes; given up, they are placed elsewhere."""
    gate = tmp_path / "gate"
    assert alpha.submit(STUCK % gate).code == 0
    for command in (("site", "remove", "alpha"), ("site", "rename", "alpha", "beta")):
        done = alpha.call(*command)
        assert done.code == 75, command
        assert "node alpha has 2 replicas out" in done.err
        assert "node drain" in done.err
    assert (alpha.path / "sites.d/alpha.toml").exists()
    site(alpha, "other")
    reports = alpha.spool("alpha") / "reports"
    until(lambda: b"".join(contents(below(reports)).values()).count(b'{"start":') >= 2, "both to have begun")
    assert alpha.json("site", "remove", "alpha", "--abandon")["drained"] == ["alpha"]
    gate.touch()
    assert alpha.call("node", "ls").code == 0
    assert alpha.submit(JOB, "--wait=30s").code == 0  # registers the other site
    assert alpha.call("wait", "2", "--timeout", "30s").code == 0
    replicas = alpha.json("show", "2")["tasks"][0]["replicas"]
    assert {one["node"] for one in replicas if one["validation"] == "valid"} == {"other"}
    assert {one["reason"] for one in replicas if one["node"] == "alpha"} == {"its site was removed"}


@pytest.mark.parametrize(
    ("new", "word"), [("", "not a name"), ("a b", "not a name"), ("../x", "not a name"), ("local", "not a name"), ("taken", "is taken")]
)
def test_a_name_that_is_none_or_is_taken_is_refused(alpha: Home, new: str, word: str) -> None:
    """What cannot be a site's name, and what is one already."""
    site(alpha, "taken")
    done = alpha.call("site", "rename", "alpha", new)
    assert (done.code, word in done.err) == (2, True)


def test_jobs_and_sites_that_name_it_stand_against_a_new_name(alpha: Home) -> None:
    """A pinned job names the site for good, and so does another site's file."""
    held = JOB + '[schedule]\nhold = true\nsites = ["alpha"]\n'
    assert alpha.submit(held).code == 0
    done = alpha.call("site", "rename", "alpha", "beta")
    assert (done.code, "open jobs name it: 2" in done.err) == (75, True)
    assert alpha.json("site", "remove", "alpha", "--dry-run")["waiting_jobs"] == [2]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_renaming_that_cannot_be_finished_now_keeps_nobody_from_looking(alpha: Home) -> None:
    """Where nothing can be written lookers go on, and the first command that can finishes it."""
    with open_coordinator(Paths.of(alpha.path)) as c:
        file, nodes = alpha.path / "sites.d/alpha.toml", [node for node in c.nodes() if node.site == "alpha"]
        plan = site_changes._plan(c, "alpha", "beta", file, nodes)
    (alpha.path / "renaming.json").write_bytes(msgspec.json.encode(plan))
    subprocess.run(["mount", "--bind", alpha.path, alpha.path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", alpha.path], check=True)
        for command in (("ls",), ("show", "1"), ("explain", "1"), ("site", "ls"), ("db", "check"), ("verify", "1")):
            assert alpha.call(*command).code == 0, command
        assert alpha.call("reconcile").code != 0
    finally:
        subprocess.run(["umount", alpha.path], check=True)
    assert [one["name"] for one in alpha.json("site", "ls")["sites"]] == ["beta"]
    assert alpha.call("verify", "1").code == 0


def names_in(home: Path) -> set[str]:
    """Return by which names the parts of a site are known, after whatever is unfinished was finished."""
    with open_coordinator(Paths.of(home), write=False) as c:
        found = {node.name for node in c.nodes()} | {node.site for node in c.nodes()}
    found |= {file.stem for file in home.glob("sites.d/*.toml")}
    found |= {file.name.removeprefix("node-") for file in home.glob("keys/node-*[!b]")}
    return found | {folder.name for folder in home.glob("spool/*")} | {folder.name for folder in home.glob("work/*")}


@pytest.mark.slow
def test_a_renaming_that_is_killed_leaves_the_old_names_or_the_new(alpha: Home, tmp_path: Path) -> None:
    """At every change to the disk."""

    def rename(home: Path) -> None:
        with open_coordinator(Paths.of(home)) as c:
            site_changes.rename(c, "alpha", "beta")

    counted = copy_home(alpha.path, tmp_path / "counted")
    total, seen = changes(lambda: rename(counted)), []
    for step in range(1, total + 1):
        copy = copy_home(alpha.path, tmp_path / f"copy{step}")
        killed_at(step, lambda: rename(copy))  # noqa: B023 - called at once
        (name,) = names_in(copy)
        seen.append(name)
        shutil.rmtree(copy)
    assert seen == sorted(seen)
    assert set(seen) == {"alpha", "beta"}
