"""Site files: what they become, what is refused and where, and jobs beside them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch import plugins
from nexapod_batch.config.descriptor import parse
from nexapod_batch.config.reference import site_reference
from nexapod_batch.config.site_table import OWN_DIRECTIVES
from nexapod_batch.config.sites import (
    check_backend,
    find_sites,
    job_at,
    limit_problems,
    load_site,
    load_sites,
    parse_site,
    partition_for,
    policy_problems,
)
from nexapod_batch.errors import ConfigError, Problem
from nexapod_batch.model.job import Tier
from nexapod_batch.model.site import Pack, Partition, Ssh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site

ROOT = Path(__file__).parents[2]
READY = sorted((ROOT / "site-configs").glob("*.toml"))

SITE = """\
schema = 1
[site]
name = "jusuf"
hostnames = ["jusuf*.fz-juelich.de"]
[scheduler]
type = "slurm"
[policy]
max_time = "1-00:00:00"
min_agree = 2
[[partitions]]
name = "batch"
"""

PARTITIONS = """\
[[partitions]]
name = "short"
hosts = 10
max_time = "04:00:00"
max_nodes = 4
max_cpus = 32
max_mem = "120G"
[[partitions]]
name = "long"
hosts = 10
max_time = "7-00:00:00"
max_nodes = 2
max_cpus = 32
max_mem = "120G"
[[partitions]]
name = "gpu"
node = "gpu"
hosts = 2
max_time = "1-00:00:00"
max_cpus = 64
max_mem = "480G"
gpus = 4
gpu_types = ["a100"]
"""


def head(scheduler: str = "", site: str = "") -> str:
    """Return the beginning of a site file with lines added to two sections."""
    return f'schema = 1\n[site]\nname = "x"\n{site}[scheduler]\ntype = "slurm"\n{scheduler}'


def read(text: str) -> Site:
    """Return the site of a text, as a file x.toml."""
    return parse_site(text, Path("x.toml")).site


def faults(text: str) -> list[Problem]:
    """Return the faults of a text that must be refused."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.exit_code == 78
    return list(caught.value.problems)


def fault(text: str) -> str:
    """Return the only fault of a text, as people read it."""
    (found,) = faults(text)
    return str(found)


def job(resources: str = "", site: str = "", quorum: str = "") -> Job:
    """Return a job that asks for something, also on site x alone."""
    text = f'schema = 1\n[job]\ncommand = ["true"]\n[resources]\n{resources}\n[quorum]\n{quorum}\n'
    return parse(text + (f"[site.x.resources]\n{site}\n" if site else ""), Path("/")).job


def texts(problems: Sequence[Problem]) -> list[str]:
    return [str(one) for one in problems]


# --- what a file becomes -------------------------------------------------------------------------------------------


def test_a_site_file_becomes_a_site(tmp_path: Path) -> None:
    """With its defaults."""
    (tmp_path / "jusuf.toml").write_text(SITE)
    site = load_site(tmp_path / "jusuf.toml")
    assert (site.title, site.scheduler.type, site.policy.max_time_s) == ("jusuf", "slurm", 86_400)
    assert (site.limits.max_queued, site.limits.pack, site.ssh) == (5_000, Pack(), None)
    assert site.hostnames == ("jusuf*.fz-juelich.de",)
    assert site.partitions == (Partition(name="batch"),)


def test_every_key_arrives() -> None:
    """Units are settled: seconds and MiB."""
    site = read(
        head(
            'transport = "ssh"\nmemory = "per-cpu"\naccount = "a.b:c+d"\naccount_required = true\nqos = "high"\n'
            'bin = "/opt/slurm/bin"\nconf = "/etc/slurm.conf"\ncluster = "c1"\ngpu_option = "gres"\n'
            'extra_directives = ["--constraint=ib&(a|b)", "--exclusive"]\nskip_directives = ["mem"]\n'
            'cmd_timeout = "2m"\naccounting = "sacct"\ntemplate = "/etc/t.jinja"\nlauncher = ["mpiexec", "-n", "{n}"]\n',
            'owner = "juelich"\n',
        )
        + '[ssh]\nhost = "login"\nuser = "ada"\nport = 2222\nkey = "/k"\nknown_hosts = "/h"\njump = "me@gate:22"\n'
        'keepalive = "5s"\nconnect_timeout = "7s"\n'
        "[limits]\nsubmit_rate = 1\npoll_interval = 2\nmax_jobs = 7\nstatus_batch = 8\n"
        '[limits.pack]\ntasks = 3\ntime = "5m"\ncpus = 4\n'
        '[environment]\nmodules = ["gcc/12.2"]\nsetup = ["ulimit -c 0"]\nenv = { OMP = 4, B = true, C = "x y" }\n'
        '[runner]\npython = "/opt/py/bin/python"\npath = "/bin:/usr/bin"\n'
        '[filesystem]\nwork_dir = "/work/{user}/nx"\nscratch = "/s/{user}"\n'
        '[[partitions]]\nname = "gpu"\ntier = "consumer-gpu"\nmax_mem = "4G"\nmax_time = "1h30m"\nfeatures = ["ib"]\n'
        'classes = { gpu-model = "a100" }\n'
    )
    assert site.ssh == Ssh(
        host="login",
        user="ada",
        port=2222,
        key="/k",
        known_hosts="/h",
        jump="me@gate:22",
        keepalive_s=5,
        connect_timeout_s=7,
    )
    assert (site.owner, site.scheduler.cmd_timeout_s, site.scheduler.launcher) == (
        "juelich",
        120,
        ("mpiexec", "-n", "{n}"),
    )
    assert site.scheduler.extra_directives == ("--constraint=ib&(a|b)", "--exclusive")
    assert (site.limits.submit_rate, site.limits.poll_interval_s) == (1.0, 120)
    assert site.limits.pack == Pack(tasks=3, time_s=300, cpus=4)
    assert site.environment.env == {"OMP": "4", "B": "true", "C": "x y"}
    assert site.filesystem.work_dir == "/work/{user}/nx"
    (one,) = site.partitions
    assert (one.tier, one.max_mem_mib, one.max_time_s, one.classes) == (
        Tier.CONSUMER_GPU,
        4_096,
        5_400,
        {"gpu-model": "a100"},
    )


def test_a_local_site_needs_no_partition() -> None:
    """It is this machine."""
    assert read(head().replace("slurm", "local")).partitions == ()


# --- what is refused, and where ------------------------------------------------------------------------------------


def test_all_faults_at_once_each_with_its_line() -> None:
    """In the order of the file, with the nearest key."""
    found = faults(
        head('transprt = "ssh"\nmemory = "percpu"\nextra_directives = ["--x=$(id)", "--arr=1"]\n')
        + '[limits]\nmax_queued = 0\n[[partitions]]\nname = "a"\nnode = "n"\n[[partitions]]\nname = "a"\nnode = "n"\ntier = "cpu"\n'
    )
    assert [(one.line, one.path) for one in found] == [
        (6, "scheduler.transprt"),
        (7, "scheduler.memory"),
        (8, "scheduler.extra_directives[0]"),
        (8, "scheduler.extra_directives[1]"),
        (10, "limits.max_queued"),
        (15, "partitions[1].name"),
        (17, "partitions[1].tier"),
    ]
    assert "did you mean 'transport'?" in str(found[0])
    assert "did you mean 'per-cpu'?" in str(found[1])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param('[site]\nname = "x"\n[scheduler]\ntype = "local"\n', 1, "schema: missing", id="no schema"),
        pytest.param(head().replace('type = "slurm"\n', ""), 4, "scheduler.type: missing", id="no type"),
        pytest.param(head(), 1, "partitions: missing", id="no partition"),
        pytest.param(
            head('transport = "ssh"\n') + '[filesystem]\nwork_dir = "/w"\n' + PARTITIONS, 1, "ssh.host: missing", id="no host"
        ),
        pytest.param(
            head('transport = "ssh"\n') + '[ssh]\nhost = "h"\n' + PARTITIONS, 1, "filesystem.work_dir: missing", id="no folder"
        ),
        pytest.param(head() + '[ssh]\nhost = "h"\n' + PARTITIONS, 6, 'got \'transport = "local"\'', id="ssh for nothing"),
        pytest.param(head('transport = "ssh"\n').replace("slurm", "local"), 6, "the local backend works", id="local ssh"),
        pytest.param(head().replace('"x"', '"y"') + PARTITIONS, 3, "not the name of the file: got 'y', wanted 'x'", id="name"),
        pytest.param(head(site='hostnames = ["a[0-9"]\n') + PARTITIONS, 4, "brackets", id="open bracket"),
        pytest.param(head(site='hostnames = ["login\\\\d+"]\n') + PARTITIONS, 4, "no regular expression", id="expression"),
        pytest.param(head(site='hostnames = ["*"]\n') + PARTITIONS, 4, "every machine", id="all hosts"),
        pytest.param(head('launcher = ["-n"]\n') + PARTITIONS, 6, "not a program", id="launcher"),
        pytest.param(head('skip_directives = ["job-name"]\n') + PARTITIONS, 6, "cannot do without", id="needed"),
        pytest.param(head('skip_directives = ["--mem"]\n') + PARTITIONS, 6, "without dashes", id="dashes"),
        pytest.param(head('account = "a b"\n') + PARTITIONS, 6, "scheduler.account: not accepted", id="account"),
        pytest.param(head('account = "a\\nb"\n') + PARTITIONS, 6, "unprintable", id="newline"),
        pytest.param(head('qos = "a\\u0000"\n') + PARTITIONS, 6, "unprintable", id="NUL"),
        pytest.param(head('bin = "opt/bin"\n') + PARTITIONS, 6, "an absolute path", id="relative"),
        pytest.param(head('bin = "/opt/../bin"\n') + PARTITIONS, 6, "goes back", id="dots"),
        pytest.param(head('bin = "/opt/{user}"\n') + PARTITIONS, 6, "an absolute path", id="user elsewhere"),
        pytest.param(head() + '[filesystem]\nwork_dir = "/w/{home}"\n' + PARTITIONS, 7, "{user}", id="other placeholder"),
        pytest.param(head() + '[filesystem]\nwork_dir = "/w/$(id)"\n' + PARTITIONS, 7, "not accepted", id="shell in a path"),
        pytest.param(head() + '[filesystem]\nwork_dir = "~/w"\n' + PARTITIONS, 7, "an absolute path", id="tilde"),
        pytest.param(head() + '[environment]\nenv = { "A B" = 1 }\n' + PARTITIONS, 7, "a variable name", id="variable"),
        pytest.param(head() + "[environment.env]\nNEXAPOD_X = 1\n" + PARTITIONS, 7, "name is taken", id="own variable"),
        pytest.param(head() + '[environment.env]\nA = "x\\ny"\n' + PARTITIONS, 7, "one line of text", id="value"),
        pytest.param(head() + '[environment]\nmodules = ["a;b"]\n' + PARTITIONS, 7, "modules[0]", id="module"),
        pytest.param(head() + '[environment]\nsetup = ["a\\nb"]\n' + PARTITIONS, 7, "setup[0]", id="setup"),
        pytest.param(head() + "[limits]\nsubmit_rate = 0.0\n" + PARTITIONS, 7, "0.001 to 1000", id="rate"),
        pytest.param(head() + '[limits]\npack = { time = "soon" }\n' + PARTITIONS, 7, "limits.pack.time", id="pack"),
        pytest.param(head() + '[policy]\nmax_time = "1:99:00"\n' + PARTITIONS, 7, "go up to 59", id="time"),
        pytest.param(head() + '[[partitions]]\nname = "a,b"\n', 7, "partitions[0].name", id="comma"),
        pytest.param(head() + '[[partitions]]\nname = "a"\ntier = "any"\n', 8, "consumer-gpu, hpc", id="tier any"),
        pytest.param(head() + '[[partitions]]\nname = "a"\nmax_nodes = 2\n', 8, "more than there are", id="max_nodes"),
        pytest.param(head() + '[[partitions]]\nname = "a"\nclasses = { gpu = "b" }\n', 8, "gpu-model", id="class"),
        pytest.param(head().replace('name = "x"', 'name = "x"\nname = "x"'), 4, "", id="duplicate key"),
    ],
)  # fmt: skip
def test_a_fault_says_where_and_what(text: str, line: int, words: str) -> None:
    """One fault, its line, and what was wanted."""
    found = fault(text)
    assert found.startswith(f"line {line}: ")
    assert words in found


@pytest.mark.parametrize("jump", ["gate", "gate:22", "me@gate.example.org:2222"])
def test_a_jump_host(jump: str) -> None:
    """With or without user and port."""
    where = '[filesystem]\nwork_dir = "/w"\n'
    ssh = read(head('transport = "ssh"\n') + f'[ssh]\nhost = "h"\njump = "{jump}"\n' + where + PARTITIONS).ssh
    assert ssh is not None
    assert ssh.jump == jump


@pytest.mark.parametrize(
    "line",
    [
        'host = "-oProxyCommand=x"',
        'host = "a b"',
        'host = "h"\nuser = "-l"',
        'host = "h"\njump = "g:70000"',
        'host = "h"\nport = 0',
    ],
)
def test_ssh_words_cannot_become_options(line: str) -> None:
    """Hosts and users begin with a letter or digit; ports exist."""
    where = '[filesystem]\nwork_dir = "/w"\n'
    assert fault(head('transport = "ssh"\n') + f"[ssh]\n{line}\n" + where + PARTITIONS).startswith("line ")


@pytest.mark.parametrize("name", OWN_DIRECTIVES)
def test_own_directives_are_refused_in_every_spelling(name: str) -> None:
    """Slurm takes the beginning of a name for the name."""
    for short in (name, name[:-1], name[:2]):
        for text in (f"--{short}", f"--{short}=1"):
            assert "is taken" in fault(head(f'extra_directives = ["{text}"]\n') + PARTITIONS)


@pytest.mark.parametrize(
    "text", ["--exclusive", "--constraint=[a*2&b*4]", "--licenses=x:2,y", "--wait-all-nodes=1", "--gres-flags=none"]
)
def test_other_directives_are_accepted(text: str) -> None:
    """Also those whose name only begins as one of ours does."""
    assert read(head(f'extra_directives = ["{text}"]\n') + PARTITIONS).scheduler.extra_directives == (text,)


HOSTILE = [
    "--x=a b", "--x=a'b", '--x=\\"', "--x=$(id)", "--x=`id`", "--x=a;b", "--x=a#b", "--x=a\\\\b", "--x=a\\nb", "--x=ä",
    "--x=>f", "--x=%j", "-x", "x", "", "--", "--X", "--x=", "--x\\u0000", "--x=" + "a" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_but_plain_directives(text: str) -> None:
    """No blank, quote, comment, escape or expansion reaches a script."""
    assert "scheduler.extra_directives[0]" in fault(head(f'extra_directives = ["{text}"]\n') + PARTITIONS)


def test_partitions_of_one_node_agree() -> None:
    """Tier and classes; other nodes may differ."""
    text = (
        head()
        + '[[partitions]]\nname = "a"\nclasses = { gpu-model = "v100" }\n[[partitions]]\nname = "b"\nnode = "{}"\n'
    )
    text += 'tier = "cpu"\nclasses = {{ gpu-model = "a100" }}\n'.format()
    assert read(text.replace("{}", "n")).groups().keys() == {"x", "x-n"}
    found = faults(text.replace('node = "{}"\n', ""))
    assert [one.path for one in found] == ["partitions[1].tier", "partitions[1].classes.gpu-model"]
    assert "wanted 'v100', as partition 'a' says of the same hosts" in str(found[1])


def test_names_of_nodes_are_bounded() -> None:
    """Site and word together are the name of a node."""
    word = "n" * 32
    text = head().replace('"x"', f'"{"s" * 40}"') + f'[[partitions]]\nname = "a"\nnode = "{word}"\n'
    with pytest.raises(ConfigError, match="too long a name"):
        parse_site(text, Path(f"{'s' * 40}.toml"))


def test_an_unknown_backend_is_found_when_the_site_is_used(tmp_path: Path) -> None:
    """The known ones are listed, with file and line."""
    file = tmp_path / "x.toml"
    file.write_text(head().replace("slurm", "locla") + PARTITIONS)
    site = load_site(file)
    with pytest.raises(ConfigError) as caught:
        check_backend(site, file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (5, "scheduler.type")
    assert ", ".join(plugins.names("backend")) in problem.message
    assert "did you mean 'local'?" in problem.message
    check_backend(read(head().replace("slurm", "local")))


# --- files that are none --------------------------------------------------------------------------------------------


def test_hostile_files(tmp_path: Path) -> None:
    """Each is an error, and the good one is there."""
    (tmp_path / "good.toml").write_text(SITE.replace("jusuf", "good", 1))
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "device.toml").symlink_to("/dev/zero")
    (tmp_path / "nowhere.toml").symlink_to(tmp_path / "gone")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * 10_000_000)
    (tmp_path / "latin.toml").write_bytes(b'schema = 1\n[site]\nname = "\xe4"\n')
    (tmp_path / "nul.toml").write_bytes(b"schema = 1\n\0")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5_000)
    (tmp_path / "digits.toml").write_text("schema = " + "1" * 5_000)
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "a b;$(id).toml").write_text(SITE)
    os.rename(tmp_path / "empty.toml", os.fsencode(tmp_path) + b"/\xff.toml")
    (tmp_path / ".#good.toml").symlink_to("editor@host.123")
    (tmp_path / "good.toml~").write_text("old")
    sites, found = load_sites([tmp_path])
    assert list(sites) == ["good"]
    assert len(found) == 12
    for one in found:
        assert one.error.exit_code == 78
        assert "\n" not in str(one.error).split("\n")[0]
        str(one.error).encode()


def test_broken_toml_has_its_line(tmp_path: Path) -> None:
    """As every other fault."""
    (tmp_path / "x.toml").write_text("schema = 1\n[site]\nname = = 1\n")
    with pytest.raises(ConfigError, match="line 3"):
        load_site(tmp_path / "x.toml")


@given(st.text(max_size=200))
def test_any_text_is_a_site_or_an_error(text: str) -> None:
    """Never another exception."""
    for whole in (text, head() + text):
        with suppress(ConfigError):
            read(whole)


_VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(re.findall(r"^\| `(\w+)`|^## `\[+([\w.]+)\]+`", site_reference(), flags=re.MULTILINE)), _VALUES)
def test_any_value_of_any_key_is_checked(names: tuple[str, str], value: object) -> None:
    """Wrong types anywhere, sections in place of values and values in place of sections."""
    key = names[0] or names[1]
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    for section in ("", "[site]\n", "[scheduler]\n", "[ssh]\n", "[limits]\n", "[policy]\n", "[[partitions]]\n"):
        with suppress(ConfigError):
            read(f"schema = 1\n{section}{key} = {shown}\n")


# --- several folders -----------------------------------------------------------------------------------------------


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


# --- a job beside a site -------------------------------------------------------------------------------------------


def test_a_policy_is_checked_against_a_job() -> None:
    """Both rules, with the key that must change."""
    site = read(SITE.replace("jusuf", "x", 1))
    found = policy_problems(site, job('time = "2d"', quorum="agree = 1"))
    assert [problem.path for problem in found] == ["resources.time", "quorum.agree"]
    assert policy_problems(site, job('time = "1d"', quorum="agree = 2")) == ()


def test_a_policy_also_binds_what_is_asked_for_on_the_site_alone() -> None:
    """The key is that of the site."""
    site = read(SITE.replace("jusuf", "x", 1))
    assert [one.path for one in policy_problems(site, job("time = 5", 'time = "2d"'))] == ["site.x.resources.time"]
    assert policy_problems(site, job('time = "2d"', "time = 5")) == ()


X = read(head() + PARTITIONS)


@pytest.mark.parametrize(
    ("resources", "on_site", "wanted"),
    [
        ("", "", "short"),
        ('time = "4h"', "", "short"),
        ('time = "5h"', "", "long"),
        ('time = "8d"', "", None),
        ("nodes = 4", "", "short"),
        ("nodes = 5", "", None),
        ('nodes = 3\ntime = "5h"', "", None),
        ("cpus_per_task = 32", "", "short"),
        ("cpus_per_task = 33", "", "gpu"),
        ("cpus_per_task = 65", "", None),
        ("nodes = 2\nntasks = 64", "", "short"),
        ("nodes = 2\nntasks = 65", "", "gpu"),
        ("ntasks = 128", "", "short"),
        ("ntasks = 129", "", None),
        ("ntasks = 4\ncpus_per_task = 17", "", "short"),
        ('mem = "120G"', "", "short"),
        ('mem = "121G"', "", "gpu"),
        ('mem = "240G"\nnodes = 2', "", "short"),
        ('mem = "240G"\nntasks = 2', "", "short"),
        ("gpus = 1", "", "gpu"),
        ("gpus = 5", "", None),
        ("gpus = 8\nnodes = 2", "", "gpu"),
        ('gpus = 1\ngpu_type = "a100"', "", "gpu"),
        ('gpus = 1\ngpu_type = "h100"', "", None),
        ('tier = "cpu"', "", None),
        ("gpus = 5", "gpus = 1", "gpu"),
        ("", 'gpu_type = "a100"', "gpu"),
        ("", 'partition = "long"', "long"),
        ("", 'partition = "gpu,long"', "long"),
        ("gpus = 1", 'partition = "long"', None),
    ],
)
def test_the_first_partition_that_fits(resources: str, on_site: str, wanted: str | None) -> None:
    """At each limit and just beyond; what cannot run has a problem, what can has none."""
    asked = job(resources, on_site)
    named = dict(dict(asked.sites).get("x", ())).get("partition")
    found = partition_for(X.partitions, job_at(asked, "x"), named)
    assert (found.name if found else None) == wanted
    assert bool(limit_problems(X, asked)) == (wanted is None)


def test_a_partition_that_is_not_there() -> None:
    """The nearest one, all of them, and those that would do."""
    (found,) = texts(limit_problems(X, job('time = "5h"', 'partition = "logn"')))
    assert found == (
        "site.x.resources.partition: site x has no such partition: got 'logn', wanted one of short, long, gpu "
        "(these would do: long, gpu) (did you mean 'long'?)"
    )


@pytest.mark.parametrize(
    ("resources", "on_site", "wanted"),
    [
        (
            'time = "5h"',
            'partition = "short"',
            ["resources.time: site x: got 05:00:00, wanted at most 04:00:00 (partition short); these would do: long, gpu"],
        ),
        (
            "",
            'time = "8d"',
            ["site.x.resources.time: site x: got 8-00:00:00, wanted at most 7-00:00:00 (partition long); NONE"],
        ),
        (
            'mem = "1T"\ncpus_per_task = 100',
            "",
            [
                "resources.cpus_per_task: site x: got 100 CPUs on one host, wanted at most 64 (partition gpu); NONE",
                "resources.mem: site x: got 1TiB on one host, wanted at most 480GiB (partition gpu); NONE",
            ],
        ),
        ("nodes = 11", "", ["resources.nodes: site x: got 11 hosts, wanted at most 4 (partition short); NONE"]),
        ("ntasks = 300", "", ["resources.ntasks: site x: got 10 hosts for its tasks, wanted at most 4 (partition short); NONE"]),
        (
            'gpus = 1\ntime = "2d"',
            "",
            [
                "resources: site x: no single partition has all that a replica wants (short: time 2-00:00:00 instead of 04:00:00, gpus 1 instead of 0; long: gpus 1 instead of 0; gpu: time 2-00:00:00 instead of 1-00:00:00); NONE"
            ],
        ),
        (
            'gpus = 1\ngpu_type = "h100"',
            'partition = "gpu"',
            ["resources.gpu_type: site x: got h100, wanted one of: a100 (partition gpu); NONE"],
        ),
        ('tier = "cpu"', "", ["resources.tier: site x: got cpu, wanted hpc (partition short); NONE"]),
    ],
)  # fmt: skip
def test_a_limit_exceeded_is_named(resources: str, on_site: str, wanted: list[str]) -> None:
    """With the largest partition, and those that would do."""
    found = texts(limit_problems(X, job(resources, on_site)))
    assert found == [one.replace("NONE", "no partition of site x would do") for one in wanted]


def test_an_account_required_and_missing() -> None:
    """The job's or the site's own will do."""
    site = read(head("account_required = true\n") + PARTITIONS)
    (found,) = limit_problems(site, job())
    assert found.path == "site.x.resources.account"
    assert limit_problems(site, job(site='account = "a"')) == ()
    assert limit_problems(read(head('account_required = true\naccount = "a"\n') + PARTITIONS), job()) == ()


def test_a_site_without_partitions_has_no_limits() -> None:
    """The local backend knows its machine by itself."""
    assert limit_problems(read(head().replace("slurm", "local")), job("cpus_per_task = 1000")) == ()


# --- what comes with it --------------------------------------------------------------------------------------------


def test_there_are_ready_files() -> None:
    """For the kinds of sites that people have."""
    kinds = {"slurm", "slurm-gpu", "slurm-no-mem", "slurm-ssh", "dask", "workstation", "archer2", "lumi"}
    assert kinds <= {file.stem for file in READY}


@pytest.mark.parametrize("file", READY, ids=lambda file: file.stem)
def test_every_ready_file_is_sound(file: Path) -> None:
    """No fault, a comment for who reads it, and one line with its name, so that it can be called something else."""
    text = file.read_text(encoding="utf-8")
    site = load_site(file)
    assert text.startswith("# ")
    assert len(re.findall(rf'^name = "{site.name}"', text, flags=re.MULTILINE)) == 1
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", ["archer2", "lumi"])
def test_files_of_real_clusters_say_where_they_come_from(name: str) -> None:
    """Source, date, and that nobody tried them."""
    text = (ROOT / f"site-configs/{name}.toml").read_text(encoding="utf-8")
    assert re.search(r"^# Source: https://", text, flags=re.MULTILINE)
    assert re.search(r"read on \d{4}-\d\d-\d\d", text)
    assert "NOT TRIED" in text


def test_the_files_do_what_they_are_for() -> None:
    """One forbids memory options, one is reached over SSH, one has GPUs on hosts of their own."""
    sites = {file.stem: load_site(file) for file in READY}
    assert sites["slurm-no-mem"].scheduler.memory == "none"
    assert sites["slurm-ssh"].ssh is not None
    assert list(sites["slurm-gpu"].groups()) == ["slurm-gpu", "slurm-gpu-gpu"]
    assert sites["workstation"].scheduler.type == "local"


def test_the_site_reference_is_current() -> None:
    """Made again with `python -m nexapod_batch.config.reference site > docs/reference/site.md`."""
    assert (ROOT / "docs/reference/site.md").read_text(encoding="utf-8") == site_reference()
