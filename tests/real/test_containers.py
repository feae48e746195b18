"""Jobs in containers of the real Apptainer: what works where, what a job may demand, and what is said of it."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apptainer.accounts import USER, AccountHome
from apptainer.trees import build_sif, make_tree
from forging import line_of, said_in, stolen_key
from homes import Done, Home, open_folder

from nexapod_batch.compare.registry import normalized_digest
from nexapod_batch.model.job import CompareRule
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.trust.statement import Statement

ISING = Path(__file__).resolve().parents[2] / "examples" / "ising"
JOB = '[job]\ncommand = ["/bin/cat", "/etc/word"]\n[container]\nimage = "{image}"\n[quorum]\ndistinct = "run"\n'
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root hides what a machine has")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small image."""
    folder = tmp_path_factory.mktemp("image")
    return build_sif(make_tree(folder / "tree"), folder / "box.sif")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home; what it started is stopped."""
    found = Home(tmp_path)
    yield found
    found.end()


@pytest.fixture
def text(image: Path) -> str:
    """Return the job that prints a word of the image."""
    return JOB.format(image=image)


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """Return a folder for PATH with a shell and no container program."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", "env"):
        (folder / name).symlink_to(f"/bin/{name}")
    return folder


def used(home: Home, selector: str = "last") -> list[tuple[str, dict[str, str]]]:
    """Return isolation and runtime of every statement of a task, as they were signed."""
    found = []
    out = home.folder / f"attestations-{os.urandom(4).hex()}"
    assert home.call("attestations", selector, "--out", out).code == 0
    for one in sorted(out.glob("*.dsse.json")):
        said = json.loads(base64.b64decode(json.loads(one.read_bytes())["payload"]))
        about = said["predicate"]["buildDefinition"]["internalParameters"]
        found.append((about["isolation"], about.get("runtime", {})))
    return found


def test_a_machine_without_a_program_takes_no_job_in_a_container(home: Home, text: str, bare_path: Path) -> None:
    """Refused in words at submit; a job that waits stays unplaced, and explain says why; doctor says what to do."""
    home.env["PATH"] = f"{bare_path}"
    done = home.submit(text)
    assert done.code == 65
    assert "cannot run containers: no apptainer and no singularity on this machine" in done.err
    assert home.jobs() == []
    del home.env["PATH"]
    assert home.submit(text + "[schedule]\nhold = true\n").code == 0
    home.env["PATH"] = f"{bare_path}"
    assert home.call("release", "1").code == 0
    home.call("reconcile")
    assert "cannot run containers: no apptainer and no singularity" in home.call("explain", "1").out
    assert home.json("show", "1", "--tasks", "0")["tasks"][0]["replicas"] == []
    checks = [one for one in home.json("doctor")["checks"] if one["check"] == "containers"]
    assert [one["verdict"] for one in checks] == ["warn"]
    assert "-> install apptainer 1.1 or newer" in checks[0]["text"]


@pytest.mark.parametrize("said", ["PACKAGE_NAME=apptainer\\nPACKAGE_VERSION=1.0.3", "PACKAGE_NAME=singularity-ce\\nPACKAGE_VERSION=3.9.5", "what"])
def test_a_program_that_is_too_old_is_refused(home: Home, text: str, bare_path: Path, said: str) -> None:
    """Got and wanted, of both programs, and of one that says neither."""
    (bare_path / "apptainer").write_text(f"#!/bin/sh\nprintf '{said}\\n'\n")
    (bare_path / "apptainer").chmod(0o755)
    home.env["PATH"] = f"{bare_path}"
    done = home.submit(text)
    wanted = "3.10" if "singularity" in said else "1.1"
    assert (done.code, "apptainer is too old: got " in done.err, f"wanted {wanted} or newer" in done.err) == (65, True, True)


def test_singularity_is_used_where_only_that_is(home: Home, text: str, bare_path: Path) -> None:
    """By its older name; the statement says what it is."""
    (bare_path / "singularity").symlink_to("/usr/bin/apptainer")
    home.env["PATH"] = f"{bare_path}"
    done = home.submit(text, "--wait=90s")
    assert done.code == 0, done.out + done.err
    (isolation, runtime), _ = used(home)
    assert (isolation, runtime["name"]) == ("container", "apptainer")
    facts = [one["text"] for one in home.json("doctor")["checks"] if one["check"] == "containers"]
    assert f"in {bare_path}/singularity" in facts[0]


#: What hides something of the machine from the user's processes alone.
HIDE = {
    "fuse": 'f=$(mktemp); chmod 600 $f; mount --bind $f /dev/fuse; rm $f; exec "$@"',
    "userns": 'f=$(mktemp); echo 0 > $f; chmod 644 $f; mount --bind $f /proc/sys/user/max_user_namespaces; rm $f; exec "$@"',
}


@NEEDS_ROOT
@pytest.mark.parametrize("what", ["", "fuse", "userns"])
def test_what_works_is_picked_and_recorded(image: Path, what: str) -> None:
    """Through FUSE; without it the image is unpacked; without user namespaces and setuid it is refused, with a way out."""
    with open_folder() as folder:
        home = AccountHome(folder, USER)
        if what:
            home.before = ("unshare", "--mount", "--propagation", "private", "sh", "-c", HIDE[what], "sh", *home.before)
        shutil.copy(image, folder / "box.sif")
        done = home.call("submit", home.descriptor(JOB.format(image="box.sif")), "--wait=90s")
        checks = [one for one in home.json("doctor")["checks"] if one["check"] == "containers"]
        text = " ".join(one["text"] for one in checks)
        modes = {runtime["mode"] for _, runtime in used(home)} if done.code == 0 else set()
        home.end()
        if what == "userns":
            assert done.code == 65
            assert "user namespaces are switched off" in done.err
            assert "sysctl user.max_user_namespaces=15000, or install apptainer-suid" in done.err
            assert "sysctl user.max_user_namespaces=15000" in text
            return
        assert done.code == 0, done.out + done.err
        said = "every replica unpacks its image" if what else "mounted through FUSE"
        assert said in text
        assert modes == {"userns+unsquash+seccomp" if what else "userns+seccomp"}


def test_only_what_the_descriptor_says_is_in_the_environment(home: Home, image: Path) -> None:
    """Whatever the names and values: nothing of the submitter's, everything of the job's."""
    home.env["OF_THE_SUBMITTER"] = "x"
    value = 'a b\\"c,d\\n$(id)`id`;#\\u00e9'
    text = JOB.format(image=image).replace('"/bin/cat", "/etc/word"', '"/bin/env"').replace("[container]", f'env = {{ HOSTILE = "{value}" }}\n[container]')
    done = home.submit(text, "--wait=90s")
    assert done.code == 0, done.out + done.err
    said = (home.path / "results/1/0/stdout").read_text()
    assert f"HOSTILE={json.loads(chr(34) + value + chr(34))}\n" in said
    assert "OF_THE_SUBMITTER" not in said
    assert "HOME=/nexapod/work\n" in said


WORKSTATION = """\
schema = 1
[site]
name = "workstation"
[scheduler]
type = "local"
[container]
bind = ["{data}", "{data}/out:rw"]
[[partitions]]
name = "here"
tier = "cpu"
max_cpus = 2
max_mem = "4G"
"""


def test_folders_are_bound_as_the_site_allows(home: Home, image: Path, tmp_path: Path) -> None:
    """To read, to write where that is said; outside it is refused at submit, through a link on the node."""
    data = tmp_path / "data"
    (data / "out").mkdir(parents=True)
    (data / "word").write_text("bound\n")
    (tmp_path / "outside").mkdir()
    (data / "link").symlink_to(tmp_path / "outside")
    sites = home.path / "sites.d"
    sites.mkdir(parents=True)
    (sites / "workstation.toml").write_text(WORKSTATION.format(data=data))
    script = f"cat {data}/word; echo x > {data}/word; echo y > {data}/out/y"
    base = JOB.format(image=image).replace('command = ["/bin/cat", "/etc/word"]', f"script = '''#!/bin/sh\n{script}; true'''")

    def submit(*binds: str) -> Any:
        return home.submit(base.replace("[quorum]", f"bind = {json.dumps(binds)}\n[quorum]\nmax_lost = 0\n"), "--site", "workstation", "--wait=90s")

    done = submit(f"{data}", f"{data}/out:rw")
    assert done.code == 0, done.out + done.err
    assert (home.path / "results/1/0/stdout").read_text() == "bound\n"
    assert ((data / "word").read_text(), (data / "out/y").read_text()) == ("bound\n", "y\n")
    for bind in (f"{data}:rw", "/etc", f"{tmp_path}"):
        done = submit(bind)
        assert (done.code, "does not let jobs have this folder" in done.err) == (65, True), done.err
    done = submit(f"{data}/link")
    assert done.code == 1
    assert "the job may not have this folder here" in home.call("explain", "last").out


def test_the_first_example_in_containers_and_beside_them(home: Home, python_image: Path, tmp_path: Path) -> None:
    """In a container on two nodes; where a job allows it, bare on a third that has none; where not, never there."""
    for name in ("one", "two", "three"):
        assert home.call("node", "init", "--name", name, "--owner", name).code == 0
    file = home.spool("three") / "node.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"container": {"program": "/none/apptainer", "binds": []}}))
    shutil.copy(ISING / "ising.py", tmp_path)
    text = (ISING / "job.toml").read_text().replace("1000", "20").replace('distinct = "run"', 'distinct = "node"')
    text += f'[container]\nimage = "{python_image}"\n'

    def run(more: str, without: str) -> Done:
        for name in ("one", "two", "three"):
            assert home.call("node", "drain" if name == without else "resume", name).code == 0
        (tmp_path / "job.toml").write_text(text.replace("[quorum]", "[quorum]\nmax_lost = 0") + more)
        return home.call("submit", "job.toml", "--wait=90s")

    done = run("", without="three")
    assert done.code == 0, done.out + done.err
    assert [isolation for isolation, _ in used(home)] == ["container", "container"]
    done = run('isolation = "any"\n', without="two")
    assert done.code == 0, done.out + done.err
    assert sorted(isolation for isolation, _ in used(home)) == ["container", "none"]
    assert "isolation: none, it ran bare" in home.call("show", "last").out
    done = run("", without="two")
    assert done.code == 1
    assert "the command cannot be run here: no /none/apptainer on this machine" in home.call("explain", "last").out


@pytest.mark.parametrize("lie", ["no container", "another image"])
def test_a_statement_of_another_container_is_no_vote(home: Home, text: str, lie: str) -> None:
    """Its node is blamed; the replica that it names is unaffected."""
    assert home.call("node", "init", "--name", "mallory", "--owner", "mallory").code == 0
    assert home.submit(text).code == 0
    while len(lines := home.lines("mallory")) < 2:
        pass

    def lied(said: Statement) -> bytes:
        assert said.container is not None
        other = None if lie == "no container" else said.container._replace(sha256="0" * 64)
        return encode(said._replace(container=other, isolation="container" if other else "none"))

    for segment in (home.spool("mallory") / "reports").glob("*.jsonl"):
        segment.unlink()
    said = said_in(lines[0])
    forged = lines[0] | json.loads(line_of(stolen_key(home, str(said.replica)), lied(said)))
    (home.spool("mallory") / "reports/zz.jsonl").write_text(json.dumps(forged) + "\n")
    assert home.json("reconcile")["quarantined"] == 1
    assert "the container is not its own" in home.call("doctor").out
    assert [one["blame"] for one in home.json("node", "ls")["nodes"]] == [1]


def test_the_exact_command_line_is_shown_beforehand(home: Home, text: str, image: Path) -> None:
    """It can be run as it is printed, once its work folder is there."""
    assert home.submit(text, "--wait=90s").code == 0
    done = home.submit(text, "--dry-run")
    (line,) = [one for one in done.out.splitlines() if "in a container: " in one]
    words = line.partition(": ")[2]
    root = home.path / "work" / home.spool().name / "JOB_0.1"
    root.mkdir()
    said = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    assert said.stdout == "hello\n"
    shown = home.call("show", "1").out
    assert (f"image:     {image}" in shown, "isolation: container" in shown) == (True, True)


def test_temporary_files_are_no_outputs_and_go(home: Home, image: Path) -> None:
    """A container finds an empty folder at $TMPDIR that it can write, with more room than memory has, and leaves nothing there."""
    text = JOB.format(image=image).replace(
        '["/bin/cat", "/etc/word"]',
        """["/bin/sh", "-c", "ls -A $TMPDIR; head -c 100000000 /dev/zero > $TMPDIR/big && echo $TMPDIR > said"]""",
    )
    done = home.submit(text + '[[outputs]]\npath = "*"\n', "--wait=90s")
    assert done.code == 0, done.err
    assert (home.path / "results" / "1" / "0" / "said").read_text() == "/nexapod/tmp\n"
    assert not (home.path / "results" / "1" / "0" / "big").exists()


NORMALIZED = """[job]
command = ["/bin/sh", "-c", "cat /proc/sys/kernel/random/uuid > a.txt; echo 0 >> a.txt"]
[container]
image = "{image}"
network = "host"
[quorum]
distinct = "run"
[[outputs]]
path = "a.txt"
normalize = ["/bin/sh", "-c", "grep -x 0; cat /etc/word; pwd; ls; grep -c : /proc/net/dev"]
"""


def test_an_output_is_normalised_in_the_image_of_its_job(home: Home, image: Path) -> None:
    """By the image's programs, on a copy that lies alone, without a network although the job has one; image and command are signed."""
    done = home.submit(NORMALIZED.format(image=image), "--wait=90s")
    assert done.code == 0, done.out + done.err + home.call("explain", 1).out
    assert home.call("verify", "1").code == 0
    out = home.folder / "proof"
    assert home.call("attestations", "1", "--out", out).code == 0
    said = json.loads(base64.b64decode(json.loads((out / "1_0.1.dsse.json").read_bytes())["payload"]))
    definition = said["predicate"]["buildDefinition"]
    (normalizer,) = definition["internalParameters"]["normalizers"]
    assert normalizer["image"] == definition["resolvedDependencies"][0]["digest"]["sha256"]
    word = subprocess.run(["apptainer", "--silent", "exec", "--userns", image, "/bin/cat", "/etc/word"], capture_output=True, check=True).stdout
    printed = b"0\n" + word + b"/nexapod/work\na.txt\n1\n"
    rule = CompareRule(normalize=("/bin/sh", "-c", "grep -x 0; cat /etc/word; pwd; ls; grep -c : /proc/net/dev"))
    assert said["subject"][0]["digest"]["nexapod-normalized"] == normalized_digest(io.BytesIO(printed), "a.txt.txt", rule)


FAULTY = """[job]
command = ["/bin/sh", "-c", "nc 127.0.0.1 {port} -e /bin/true && echo 1 > a.txt"]
[container]
image = "{image}"
network = "host"
[resources]
time = "00:00:25"
disk = "20MiB"
[quorum]
agree = 1
distinct = "run"
max_replicas = 1
max_errors = 0
[[outputs]]
path = "a.txt"
normalize = ["/bin/sh", "-c", "{{what}}"]
[array.matrix]
what = {values}
"""


def test_a_command_that_normalises_nothing_in_an_image_ends_its_replica(home: Home, image: Path) -> None:
    """One that fails, hangs, prints without end, is not there or wants the network: each with its reason; the node goes on."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # which the job's own command reaches
        port = server.getsockname()[1]
        cases = {
            "echo broken >&2; exit 3": "exit code 3; last line of stderr: broken",
            "nonesuch": "exit code 127",
            "sleep 1000": "over its time limit of ",
            "cat /dev/zero": "it printed more than 20 MiB",
            "cat /dev/zero; true": "it printed more than 20 MiB",
            "cat /dev/zero >&2; cat": "it printed more than 20 MiB",
            f"nc 127.0.0.1 {port} -e /bin/true": "last line of stderr: nc: can't connect",
            f"wget -q -O - http://127.0.0.1:{port}/": "last line of stderr: wget: can't connect",
            "cat; sleep 1000 & exit 0": "",
        }  # fmt: skip
        values = "[" + ", ".join(f'"{what}"' for what in cases) + "]"
        done = home.submit(FAULTY.format(image=image, port=port, values=values), "--wait=300s")
    assert done.code == 1, done.out + done.err
    for task, (what, why) in zip(home.json("show", 1)["tasks"], cases.items(), strict=True):
        (replica,) = task["replicas"]
        assert (what, task["state"]) == (what, "failed" if why else "accepted"), replica["reason"]
        if why:
            assert replica["reason"].startswith("normalize of output 'a.txt', by '/bin/sh': "), replica["reason"]
            assert why in replica["reason"], what
    assert home.call("verify", "1").code == 0
