"""What an administrator runs from timers, and reads: status files, exit codes, entries, accounts of use."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM, TRUE

if TYPE_CHECKING:
    from pathlib import Path

    from homes import Home


def damage_a_site(home: Home) -> None:
    """Make a standing fault: the node of a site whose file is gone."""
    sites = home.path / "sites.d"
    sites.mkdir(parents=True, exist_ok=True)
    file = sites / "away.toml"
    file.write_text('schema = 1\n[site]\nname = "away"\n[scheduler]\ntype = "local"\n[[partitions]]\nname = "p"\ntier = "cpu"\n')
    assert home.submit(TRUE, "--wait").code == 0
    file.unlink()


def test_the_status_file_says_that_all_is_well(home: Home, tmp_path: Path) -> None:
    """Time, counts, no faults; before the first job as well, where nothing is made."""
    file = tmp_path / "status.json"
    assert home.call("reconcile", "--quiet", "--status-file", file) == (0, "", "")
    assert not home.path.exists()
    first = json.loads(file.read_text())
    assert (first["schema"], first["ok"], first["faults"], first["error"], first["open_jobs"]) == (1, True, [], None, 0)
    assert home.submit(TRUE).code == 0
    assert home.call("reconcile", "--quiet", "--status-file", file).code == 0
    second = json.loads(file.read_text())
    assert second["unix_time"] >= first["unix_time"] > 1_700_000_000
    assert {"ingested", "decided", "launched", "published", "open_jobs", "seconds", "time"} <= second.keys()
    assert list(tmp_path.glob(".status*")) == []


def test_a_standing_fault_is_in_every_status_file_and_in_the_exit_code(home: Home, tmp_path: Path) -> None:
    """It is told once, and monitored until it is gone."""
    damage_a_site(home)
    file = tmp_path / "status.json"
    watched = ("reconcile", "--quiet", "--exit-code", "--status-file", file)
    first, again = home.call(*watched), home.call(*watched)
    assert (first.code, again.code, again.err) == (1, 1, "")
    assert "away" in first.err
    status = json.loads(file.read_text())
    assert (status["ok"], status["faults"]) == (False, [])
    assert "away" in status["standing"][0]
    assert home.call("reconcile", "--quiet").code == 0


@pytest.mark.parametrize("way", ["damaged", "no home"])
def test_a_pass_that_fails_is_in_the_status_file(home: Home, tmp_path: Path, way: str) -> None:
    """The exit code is that of the error, and the file has its words."""
    assert home.submit(TRUE, "--wait").code == 0
    if way == "damaged":
        (home.path / "state.db").write_bytes(b"rubbish" * 1000)
    else:
        (home.path / "state.db").unlink()
    file = tmp_path / "status.json"
    assert home.call("reconcile", "--quiet", "--status-file", file).code == 78
    status = json.loads(file.read_text())
    assert status["ok"] is False
    assert "database" in status["error"]


def test_a_status_file_that_cannot_be_written_is_an_error(home: Home, tmp_path: Path) -> None:
    """Monitoring that is blind must not look well."""
    done = home.call("reconcile", "--quiet", "--status-file", tmp_path / "no" / "status.json")
    assert done.code == 78
    assert "status.json cannot be written" in done.err
    assert "->" in done.err


@pytest.mark.parametrize("how", ["cron", "scrontab", "systemd"])
def test_an_entry_names_everything_that_a_timer_lacks(home: Home, tmp_path: Path, how: str) -> None:
    """PATH with this one's folders, each once and only those that are there; the home or the XDG folders."""
    tools = tmp_path / "100% tools"
    tools.mkdir()
    path = f"{tools}:relative:/nowhere-at-all:{tools}:/usr/bin"
    env = {"PATH": path, "NEXAPOD_HOME": str(home.path), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        [PROGRAM, "reconcile", "--print", how], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    (line,) = [one for one in lines if "reconcile --quiet" in one]
    assert line.count("tools") == 1
    assert "relative" not in line
    assert "nowhere" not in line
    assert f"NEXAPOD_HOME={home.path}" in line
    assert "XDG_STATE_HOME=" in line
    if how != "systemd":  # as cron does: % ends a line unless it is escaped
        command = line.removeprefix("*/5 * * * * ").replace("\\%", "%")
        assert "%" not in line.replace("\\%", "")
        bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        assert subprocess.run(["sh", "-c", command], env=bare, check=False).returncode == 0


def test_usage_says_who_used_what(home: Home) -> None:
    """Of real executions: two for one task, twice what was needed or nearly so; nobody before the first job."""
    assert home.json("usage")["usage"] == []
    assert home.submit(TRUE.replace('"true"]', '"sleep", "0.2"]'), "--wait").code == 0
    (row,) = home.json("usage", "--by", "user")["usage"]
    assert (row["jobs"], row["tasks"], row["accepted"], row["executions"]) == (1, 1, 1, 2)
    assert 0 < row["overhead_core_hours"] < row["core_hours"] < 0.1
    assert [row["site"] for row in home.json("usage", "--by", "site", "--since", "1h")["usage"]] == ["local"]
    assert home.json("usage", "--since", "2999-01-01")["usage"] == []
    assert "OVERHEAD" in home.call("usage", "--by", "account").out
    assert home.call("usage", "--since", "yesterday-ish").code == 2
    assert os.path.isdir(home.path)
