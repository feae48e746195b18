"""`site ls`, `site show`, `site init` and `site check`, run as a person would; the clusters of these files are not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from homes import Home

from nexapod_batch.config.site.sites import load_site

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = 'schema = 1\n[site]\nname = "desk"\n[scheduler]\ntype = "local"\n[policy]\nmax_time = "1h"\n'
FAR = 'schema = 1\n[site]\nname = "far"\n[scheduler]\ntype = "slurm"\nbin = "/nowhere"\n[[partitions]]\nname = "a"\n'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home of its own; no worker is ever started here."""
    return Home(tmp_path)


@pytest.fixture
def sites(home: Home) -> Path:
    """Make the folder of the user's site files."""
    folder = home.path / "sites.d"
    folder.mkdir(parents=True)
    return folder


def test_no_sites(home: Home) -> None:
    """Not an error: the way on is shown."""
    done = home.call("site", "ls")
    assert (done.code, done.out) == (0, "")
    assert "site init --list" in done.err
    assert home.json("site", "ls") == {"schema": 1, "sites": [], "faults": []}


def test_good_sites_first_then_bad_files_with_their_faults(home: Home, sites: Path) -> None:
    """Exit 0 as long as one of them can be used."""
    (sites / "desk.toml").write_text(LOCAL)
    (sites / "bad.toml").write_text(LOCAL.replace("max_time", "max_tiem"))
    done = home.call("site", "ls")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "BACKEND", "TRANSPORT", "NODES", "PARTITIONS", "FILE"]
    assert [line.split()[:2] for line in lines[1:]] == [["desk", "ok"], ["bad", "fail"]]
    assert "line 7: policy.max_tiem: unknown key (did you mean 'max_time'?)" in done.err
    document = home.json("site", "ls")
    assert [one["name"] for one in document["sites"]] == ["desk"]
    (fault,) = document["faults"]
    assert (fault["name"], fault["file"]) == ("bad", str(sites / "bad.toml"))
    assert [(one["line"], one["path"]) for one in fault["problems"]] == [(3, "site.name"), (7, "policy.max_tiem")]


def test_only_bad_files(home: Home, sites: Path) -> None:
    """Exit 78, also for a backend that is not there."""
    (sites / "desk.toml").write_text(LOCAL.replace('"local"', '"pbs"') + '[[partitions]]\nname = "a"\n')
    done = home.call("site", "ls")
    assert done.code == 78
    assert "line 5: scheduler.type: unknown backend: got 'pbs', wanted one of " in done.err
    assert home.json("site", "ls", code=78)["sites"] == []
    shown = home.call("site", "show", "desk")
    assert (shown.code, shown.out) == (78, "")
    assert "unknown backend" in shown.err


def test_a_site_is_shown_with_origins(home: Home, sites: Path) -> None:
    """As it was understood; each value with its file, or default."""
    (sites / "desk.toml").write_text(LOCAL)
    plain, origin = home.call("site", "show", "desk"), home.call("site", "show", "desk", "--origin")
    assert "policy.max_time = 01:00:00\n" in plain.out
    assert f"policy.max_time = 01:00:00    # {sites / 'desk.toml'}\n" in origin.out
    assert "limits.max_queued = 5000    # default\n" in origin.out
    document = home.json("site", "show", "desk", "--origin")
    assert document["site"]["policy"] == {"max_time_s": 3_600, "min_agree": 1}
    assert {"key": "limits.max_queued", "value": "5000", "origin": "default"} in document["settings"]
    assert document["file"] == str(sites / "desk.toml")


def test_a_bad_site_or_none(home: Home, sites: Path) -> None:
    """The bad one is 78 with its faults, one that is not there 66; the others do not matter."""
    (sites / "desk.toml").write_text(LOCAL)
    (sites / "bad.toml").write_text("x = = 1\n")
    bad, none = home.call("site", "show", "bad"), home.call("site", "show", "nowhere")
    assert (bad.code, none.code) == (78, 66)
    assert "line 1" in bad.err
    assert "wanted one of: desk" in none.err
    assert home.call("site", "show", "desk").code == 0


@pytest.mark.parametrize("name", ["", "../desk", "a\nb", "x" * 5_000, "*"])
def test_hostile_names(home: Home, sites: Path, name: str) -> None:
    """No such site, and no traceback."""
    (sites / "desk.toml").write_text(LOCAL)
    assert home.call("site", "show", name).code == 66
    assert home.call("site", "init", "--from", name).code == 66


def test_hostile_files(home: Home, sites: Path) -> None:
    """Each is listed as bad; control characters of names are spelt out."""
    (sites / "desk.toml").write_text(LOCAL)
    (sites / "device.toml").symlink_to("/dev/zero")
    (sites / "folder.toml").mkdir()
    (sites / "huge.toml").write_bytes(b"#" * 10_000_000)
    (sites / "a\x1b[31mb\n.toml").write_text(LOCAL)
    (sites / "latin.toml").write_bytes(b"\xff")
    os.rename(sites / "latin.toml", os.fsencode(sites) + b"/\xff.toml")
    done = home.call("site", "ls")
    assert done.code == 0
    assert done.out.count("fail") == 5
    assert "\x1b" not in done.out + done.err
    assert len(home.json("site", "ls")["faults"]) == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(home: Home, sites: Path) -> None:
    """It is a fault, not an empty folder."""
    sites.chmod(0)
    done = home.call("site", "ls")
    sites.chmod(0o700)
    assert done.code == 78
    assert "permission denied" in done.err


def test_a_ready_file_is_copied_once(home: Home) -> None:
    """Into a folder that is made, never over a file that is there."""
    rows = home.json("site", "init", "--list")["ready"]
    assert {"name": "workstation", "title": "A workstation"} in rows
    done = home.json("site", "init", "--from", "workstation")
    file = home.path / "sites.d/workstation.toml"
    assert done == {"schema": 1, "name": "workstation", "file": str(file)}
    assert home.call("site", "show", "workstation").code == 0
    assert home.path.stat().st_mode & 0o077 == 0
    file.write_text("mine\n")
    again = home.call("site", "init", "--from", "workstation")
    assert again.code == 2
    assert "already" in again.err
    assert file.read_text() == "mine\n"


def test_every_ready_file_can_be_called_something_else(home: Home) -> None:
    """The site is named as its file is."""
    for one in home.json("site", "init", "--list")["ready"]:
        file = home.path / f"sites.d/my-{one['name']}.toml"
        assert home.call("site", "init", "--from", one["name"], "--to", file).code == 0
        assert load_site(file).name == f"my-{one['name']}"


def test_a_ready_file_is_printed_or_put_into_a_folder(home: Home) -> None:
    """`-` is stdout; a folder gets NAME.toml."""
    printed = home.call("site", "init", "--from", "slurm", "--to", "-").out
    assert printed.startswith("# ")
    assert home.call("site", "init", "--from", "slurm", "--to", home.folder).code == 0
    assert (home.folder / "slurm.toml").read_text() == printed


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "--from NAME"),
        (["--from", "slrum"], 66, "wanted one of: archer2"),
        (["--from", "slurm", "--to", "x.txt"], 2, "ends with .toml"),
        (["--from", "slurm", "--to", "a b.toml"], 2, "not the name of a site file"),
        (["--from", "slurm", "--to", "x" * 300 + ".toml"], 2, "not the name of a site file"),
        (["--from", "slurm", "--to", "/proc/none/x.toml"], 78, "cannot be written"),
        (["--from", "slurm", "--to", "/dev/null/x.toml"], 78, "cannot be written"),
        (["--from", "slurm", "--to", "link.toml"], 2, "already"),
    ],
)
def test_what_cannot_be_copied(home: Home, options: list[str], code: int, words: str) -> None:
    """One message, the right code, and nothing written."""
    (home.folder / "link.toml").symlink_to("elsewhere.toml")
    done = home.call("site", "init", *options)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert not (home.folder / "elsewhere.toml").exists()


def test_checking_what_cannot_be_used(home: Home, sites: Path) -> None:
    """A bad file, an unknown backend: one line each with what to do, 78; no file at all: 66."""
    (sites / "desk.toml").write_text(LOCAL.replace("max_time", "max_tiem"))
    bad = home.call("site", "check", "desk")
    assert bad.code == 78
    assert bad.out.startswith("fail  file ")
    assert "policy.max_tiem: unknown key (did you mean 'max_time'?)" in bad.out
    (sites / "desk.toml").write_text(LOCAL.replace('"local"', '"lokal"') + '[[partitions]]\nname = "a"\n')
    bad = home.call("site", "check", "desk")
    assert bad.code == 78
    assert "fail  backend " in bad.out
    assert "did you mean 'local'?" in bad.out
    assert home.call("site", "check", "nowhere").code == 66


def test_checking_a_site_without_nodes(home: Home, sites: Path) -> None:
    """A file that only limits what is asked of this machine is checked as far as it goes."""
    (sites / "desk.toml").write_text(LOCAL)
    done = home.json("site", "check", "desk")
    assert [(one["mark"], one["probe"]) for one in done["findings"]] == [("ok", "file"), ("ok", "backend"), ("ok", "partitions")]
    assert (done["ok"], done["fail"]) == (3, 0)


def test_checking_a_cluster_that_is_not_there(home: Home, sites: Path) -> None:
    """Its commands are named; nothing is tried behind that, and nothing is left behind."""
    (sites / "far.toml").write_text(FAR)
    done = home.call("site", "check", "far")
    assert done.code == 78
    assert "fail  commands " in done.out
    assert "not usable in /nowhere: sbatch, squeue, sacct, scancel, scontrol, sinfo" in done.out
    assert "skip  test job " in done.out
    assert [one.name for one in home.path.iterdir()] == ["sites.d"]


def test_a_dry_run_of_a_check_calls_and_leaves_nothing(home: Home, sites: Path) -> None:
    """It prints the commands and the script, also where there is no cluster."""
    (sites / "far.toml").write_text(FAR)
    done = home.call("site", "check", "far", "--dry-run", "--account", "bio")
    assert done.code == 0
    assert "would call scontrol ping" in done.out
    assert "#SBATCH --account=bio\n" in done.out
    assert [one.name for one in home.path.iterdir()] == ["sites.d"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--timeout", "soon"], 2, "not a duration"),
        (["--timeout", "0"], 2, "a time above 0"),
        (["--partition", "nope"], 65, "site.far.resources.partition: site far has no such partition"),
        (["--partition", "a b"], 65, "site.far.resources.partition"),
        (["--account", "$(id)"], 65, "site.far.resources.account"),
    ],
)
def test_bad_options_of_a_check(home: Home, sites: Path, options: list[str], code: int, words: str) -> None:
    """Refused before anything is called; nothing is left behind."""
    (sites / "far.toml").write_text(FAR)
    done = home.call("site", "check", "far", *options)
    assert done.code == code
    assert words in done.err
    assert [one.name for one in home.path.iterdir()] == ["sites.d"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--from-slurm", "--bin", "/nowhere"], 69, "there is no scontrol"),
        (["--from-slurm", "--from", "slurm"], 2, "two things to start from"),
        (["--from", "slurm", "--bin", "/x"], 2, "--bin belongs to --from-BACKEND"),
        (["--name", "x"], 2, "--name belongs to --from-BACKEND"),
        (["--from-slurm", "--name", "a", "--to", "b.toml"], 2, "named as its file"),
        (["--from-slurm", "--to", "b.txt"], 2, "ends with .toml"),
    ],
)
def test_nothing_to_discover(home: Home, options: list[str], code: int, words: str) -> None:
    """No cluster, or options that contradict each other: one message, and no file."""
    done = home.call("site", "init", *options)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert not home.path.exists()
