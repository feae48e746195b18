"""Paths and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexapod_batch.config import home
from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.config.settings import Paths, Settings, settings
from nexapod_batch.errors import ConfigError


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Everything in one folder, with a machine-wide folder of its own."""
    for folder in ("etc", "home", "project"):
        (tmp_path / folder).mkdir()
    return Paths.of(tmp_path / "home", system=tmp_path / "etc")


def read(paths: Paths, **environ: str) -> Settings:
    """Return the settings with the project folder of the fixture."""
    return settings(paths, project=paths.home.parent / "project", environ=environ)


def test_one_folder_holds_everything_when_asked() -> None:
    """NEXAPOD_HOME."""
    paths = Paths.from_environment({"NEXAPOD_HOME": "/data/nx", "HOME": "/home/a", "XDG_STATE_HOME": "/x"})
    assert paths.state_db == Path("/data/nx/state.db")
    assert paths.results == Path("/data/nx/results")
    assert paths.sites == (Path("/etc/nexapod/sites.d"), Path("/data/nx/sites.d"))
    assert paths.spool("n") == Path("/data/nx/spool/n")
    assert paths.work("n") == Path("/data/nx/work/n")


def test_the_xdg_directories_are_the_default() -> None:
    """A relative one is ignored, as the specification says."""
    paths = Paths.from_environment({"HOME": "/home/a", "XDG_DATA_HOME": "/data", "XDG_STATE_HOME": "relative"})
    assert paths.home == Path("/home/a/.local/state/nexapod-batch")
    assert paths.results == Path("/data/nexapod-batch/results")
    assert paths.sites[-1] == Path("/home/a/.config/nexapod-batch/sites.d")


@pytest.mark.parametrize(
    ("given", "found"),
    [("/data//nx/./", "/data/nx"), ("/data/../nx", "/data/../nx"), ("nx", "{cwd}/nx"), ("~/nx", "{home}/nx")],
)
def test_the_folder_that_is_asked_for_is_absolute(given: str, found: str) -> None:
    """Relative to the current folder; `..` stays, for what is before it may be a link."""
    wanted = found.format(cwd=Path.cwd(), home=Path.home())
    assert str(Paths.from_environment({"NEXAPOD_HOME": given}).home) == wanted
    assert home.home_folder({"NEXAPOD_HOME": given}) == wanted


def test_the_home_of_nobody_is_an_error() -> None:
    """A `~name` that stands for nothing is no folder to begin in."""
    with pytest.raises(ConfigError, match="nobody here"):
        Paths.from_environment({"NEXAPOD_HOME": "~nobody-of-this-name/nx"})


def test_no_home_is_an_error_with_a_way_out() -> None:
    """Exit code 78."""
    with pytest.raises(ConfigError, match="set NEXAPOD_HOME"):
        Paths.from_environment({"HOME": "nowhere"})


def test_settings_have_defaults(paths: Paths) -> None:
    """No file is needed."""
    found = read(paths)
    assert (found.owner, found.keep_work_s, found.keep_failed_s) == (None, 0, 604_800)
    assert found.job_defaults == {}
    assert found.origin["owner"] == "default"


def test_nearer_files_win_and_variables_win_over_all(paths: Paths) -> None:
    """Machine, user, project, NEXAPOD_*; each value says where it came from."""
    root = paths.home.parent
    (root / "etc/config.toml").write_text(
        'owner = "machine"\nsite = "a"\n[resources]\nmem = "1G"\n[retention]\nwork = "1d"\n'
    )
    (root / "home/config.toml").write_text('owner = "user"\n[resources]\nmem = "2G"\ntime = 5\n')
    (root / "project/nexapod.toml").write_text('[resources]\nmem = "3G"\n[quorum]\nagree = 1\n')
    found = read(paths, NEXAPOD_QUORUM_AGREE="3")
    assert (found.owner, found.site, found.keep_work_s) == ("user", "a", 86_400)
    assert found.job_defaults == {"resources.mem": "3G", "resources.time": 5, "quorum.agree": 3}
    assert found.job_overrides == {"quorum.agree": 3}
    assert found.origin["resources.mem"] == str(root / "project/nexapod.toml")
    assert found.origin["quorum.agree"] == "NEXAPOD_QUORUM_AGREE"


def test_settings_fill_a_descriptor(paths: Paths) -> None:
    """They are what `parse` takes."""
    (paths.home / "config.toml").write_text('[resources]\nmem = "2G"\ntime = 5\n')
    found = read(paths, NEXAPOD_RESOURCES_TIME="7")
    text = 'schema = 1\n[job]\ncommand = ["true"]\n[resources]\nmem = "8G"\ntime = 1\n'
    job = parse(text, paths.home, defaults=found.job_defaults, overrides=found.job_overrides).job
    assert (job.resources.mem_mib, job.resources.time_s) == (8_192, 420)


@pytest.mark.parametrize(
    "text", ["x =", "ownr = 'a'", "owner = 3", "[resources]\nmem = 'x'", "resources = 1", "schema = 2"]
)
def test_bad_settings_are_refused(paths: Paths, text: str) -> None:
    """Exit code 78, with the file."""
    (paths.home / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml") as caught:
        read(paths)
    assert caught.value.exit_code == 78


def test_a_project_does_not_say_when_folders_go(paths: Paths) -> None:
    """They belong to the account: a project's word would not count when another command cleans up."""
    (paths.home.parent / "project/nexapod.toml").write_text('[retention]\nwork = "1d"\n')
    with pytest.raises(ConfigError) as caught:
        read(paths)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("retention", 1)


def test_a_bad_variable_is_refused(paths: Paths) -> None:
    """With its name."""
    with pytest.raises(ConfigError, match="NEXAPOD_QUORUM_AGREE"):
        read(paths, NEXAPOD_QUORUM_AGREE="many")
