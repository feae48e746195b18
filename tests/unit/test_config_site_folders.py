"""Site files in several folders: which one counts, and where each value comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from site_texts import PARTITIONS, SITE, head

from nexapod_batch.config.site.sites import (
    find_sites,
    load_sites,
)


def folders(tmp_path: Path, system: str, own: str) -> list[Path]:
    """Write x.toml into two folders."""
    found = [tmp_path / "etc", tmp_path / "own"]
    for folder, text in zip(found, (system, own), strict=True):
        folder.mkdir()
        if text:
            (folder / "x.toml").write_text(text)
    return found


def test_a_bad_site_file_does_not_stop_the_others(tmp_path: Path) -> None:
    """It is reported beside them; later folders win; a folder need not exist."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a/jusuf.toml").write_text(SITE)
    (tmp_path / "b/jusuf.toml").write_text(SITE.replace("[scheduler]", 'title = "Better"\n[scheduler]'))
    (tmp_path / "b/broken.toml").write_text("x = = 1")
    (tmp_path / "b/other.toml").write_text(SITE)
    (tmp_path / "b/empty.toml").write_text("")
    (tmp_path / "b/folder.toml").mkdir()
    sites, found = load_sites([tmp_path / "a", tmp_path / "b", tmp_path / "none"])
    assert {name: site.title for name, site in sites.items()} == {"jusuf": "Better"}
    assert [fault.file.name for fault in found] == ["broken.toml", "empty.toml", "folder.toml", "other.toml"]
    assert all(fault.error.exit_code == 78 for fault in found)


def test_the_last_file_counts_as_a_whole(tmp_path: Path) -> None:
    """Nothing of the earlier one is mixed in."""
    places = folders(tmp_path, head('account = "system"\n') + PARTITIONS, head('qos = "own"\n') + PARTITIONS)
    site = load_sites(places)[0]["x"]
    assert (site.scheduler.account, site.scheduler.qos) == (None, "own")


@pytest.mark.parametrize(
    ("system", "own", "time", "agree", "origins"),
    [
        pytest.param('max_time = "1h"\nmin_agree = 3', 'max_time = "2h"\nmin_agree = 2', 3_600, 3, ("etc", "etc"), id="laxer"),
        pytest.param('max_time = "2h"\nmin_agree = 2', 'max_time = "1h"\nmin_agree = 3', 3_600, 3, ("own", "own"), id="stricter"),
        pytest.param('max_time = "1h"\nmin_agree = 2', "", 3_600, 2, ("etc", "etc"), id="left out"),
        pytest.param("", 'max_time = "1h"', 3_600, 1, ("own", "default"), id="system says nothing"),
        pytest.param("", "", None, 1, (None, "default"), id="nobody says anything"),
    ],
)  # fmt: skip
def test_of_each_policy_the_stricter_word_holds(
    tmp_path: Path, system: str, own: str, time: int | None, agree: int, origins: tuple[str | None, str]
) -> None:
    """And its origin is the file that says it."""
    places = folders(
        tmp_path, head() + PARTITIONS + f"[policy]\n{system}\n", head() + PARTITIONS + f"[policy]\n{own}\n"
    )
    found = find_sites(places)[0]["x"]
    assert (found.site.policy.max_time_s, found.site.policy.min_agree) == (time, agree)
    says = {one.key: one.origin for one in found.settings}
    wanted = [str(tmp_path / one / "x.toml") if one in ("etc", "own") else one for one in origins]
    assert [says.get("policy.max_time"), says.get("policy.min_agree")] == wanted
    assert len(says) == len(found.settings)


@pytest.mark.parametrize("bad", ["etc", "own"])
def test_a_name_with_a_bad_file_is_not_used(tmp_path: Path, bad: str) -> None:
    """Neither an escape from the machine's policy nor a site that its user did not mean."""
    places = folders(tmp_path, head() + PARTITIONS, head() + PARTITIONS)
    (tmp_path / bad / "x.toml").write_text("x = = 1")
    sites, found = load_sites(places)
    assert sites == {}
    assert [one.file for one in found] == [tmp_path / bad / "x.toml"]


def test_a_folder_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """A file in its place, here; a site of the same stem is untouched."""
    (tmp_path / "x.d").write_text("")
    places = folders(tmp_path, head() + PARTITIONS, "")
    sites, found = load_sites([tmp_path / "x.d", *places])
    assert list(sites) == ["x"]
    assert [one.file.name for one in found] == ["x.d"]
    assert "cannot be read: not a directory" in str(found[0].error)


def test_every_value_says_where_it_comes_from(tmp_path: Path) -> None:
    """A file, or default; as people write it."""
    places = folders(
        tmp_path, "", head() + "[limits]\npoll_interval = 2\n[environment]\nenv = { A = 1 }\n" + PARTITIONS
    )
    says = {one.key: (one.value, one.origin) for one in find_sites(places)[0]["x"].settings}
    file = str(tmp_path / "own/x.toml")
    assert says["limits.poll_interval"] == ("00:02:00", file)
    assert says["limits.pack.time"] == ("01:00:00", "default")
    assert says["environment.env.A"] == ("1", file)
    assert says["partitions[0].max_mem"] == ("120GiB", file)
    assert says["partitions[0].tier"] == ("hpc", "default")
    assert says["partitions[2].gpu_types"] == ('["a100"]', file)
    assert "scheduler.account" not in says
