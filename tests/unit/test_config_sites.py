"""Site files: what they become, what is refused and where."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from site_texts import PARTITIONS, SITE, fault, faults, head, read

from nexapod_batch import plugins
from nexapod_batch.config.reference import site_reference
from nexapod_batch.config.site.site_schema import OWN_DIRECTIVES
from nexapod_batch.config.site.sites import (
    check_backend,
    load_site,
    load_sites,
    parse_site,
)
from nexapod_batch.errors import ConfigError
from nexapod_batch.model.job import Tier
from nexapod_batch.model.site import Pack, Partition, Ssh

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
        '[environment]\nmodules = ["gcc/12.2"]\nsetup = ["ulimit -c 0"]\npass = ["LD_LIBRARY_PATH"]\nenv = { OMP = 4, B = true, C = "x y" }\n'
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
    assert site.environment.passes == ("LD_LIBRARY_PATH",)
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
        pytest.param(head() + '[environment]\npass = ["A-B"]\n' + PARTITIONS, 7, "a variable name", id="passed"),
        pytest.param(head() + '[environment]\npass = ["HOME"]\n' + PARTITIONS, 7, "one of their own", id="passed home"),
        pytest.param(head() + '[environment]\npass = ["nexapod_job"]\n' + PARTITIONS, 7, "one of their own", id="passed ours"),
        pytest.param(head() + f'[filesystem]\nlocal_scratch = "/{"x" * 50}"\n' + PARTITIONS, 7, "at most 50", id="long scratch"),
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
