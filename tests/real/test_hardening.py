"""Calls of the kernel that commands in sandboxes are refused, and what they cannot read there of the host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from apptainer.accounts import USER, AccountHome
from apptainer.trees import build_sif, make_python_tree
from homes import open_folder
from spools import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

#: Says what it was refused and what it got, and what it can read of whoever started it.
SCRIPT = """\
import ctypes, json, os, socket, subprocess, sys, tempfile, threading

kernel = ctypes.CDLL(None, use_errno=True)
NEW_USER = 0x10000000


def call(number, *given):
    return kernel.syscall(number, *given) >= 0


def make(family, kind=socket.SOCK_STREAM):
    try:
        socket.socket(family, kind, 0).close()
    except OSError:
        return False
    return True


def forked(function):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if function() else 1)
    return os.waitpid(pid, 0)[1] == 0


def cloned():
    given = (ctypes.c_uint64 * 11)(NEW_USER, 0, 0, 0, 17)
    pid = kernel.syscall(435, given, 88)
    if pid == 0:
        os._exit(0)
    return pid > 0 and os.waitpid(pid, 0)[0] == pid


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def traced():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if call(101, 0, 0, 0, 0) else 1)
    return os.waitpid(pid, 0)[1] == 0


thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
parameters = ctypes.create_string_buffer(120)
tried = {
    "unshare": forked(lambda: kernel.unshare(NEW_USER) == 0),
    "clone3": cloned(),
    "uring": call(425, 1, parameters),
    "keyring": call(250, 0, -3, 1),
    "handle": call(303, -100, b"/", ctypes.create_string_buffer(b"\\\\x80\\\\0\\\\0\\\\0", 200), ctypes.byref(ctypes.c_int()), 0),
    "alg": make(38, socket.SOCK_SEQPACKET),
    "vsock": make(40),
    "raw": make(socket.AF_INET, socket.SOCK_RAW),
    "packet": make(17, socket.SOCK_RAW),
}
works = {
    "tmp": bool(tempfile.mkdtemp(dir=os.environ.get("TMPDIR"))), "unix": make(socket.AF_UNIX), "ip": make(socket.AF_INET), "netlink": make(16, socket.SOCK_RAW),
    "child": subprocess.run([sys.executable, "-c", ""]).returncode == 0,
}
first = [read(f"/proc/1/{name}") for name in ("cmdline", "environ", "maps", "mountinfo")]
names = [os.readlink(f"/proc/self/fd/{one}") for one in (0, *range(3, 200)) if os.path.exists(f"/proc/self/fd/{one}")]
print(json.dumps({"tried": tried, "works": works, "first": [one.decode("latin-1") for one in first], "open": names,
                  "container": os.environ.get("APPTAINER_CONTAINER", ""), "home": os.environ["HOME"]}))
"""
JOB = """[job]
name = "tries"
command = ["{python}", "tries.py"]
[quorum]
agree = 1
distinct = "run"
max_errors = 0
[[inputs]]
source = "tries.py"
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an image with a Python, whose own environment says another HOME."""
    folder = tmp_path_factory.mktemp("image")
    tree = make_python_tree(folder / "tree")
    own = tree / ".singularity.d/env/90-environment.sh"
    own.parent.mkdir(parents=True)
    own.write_text("export HOME=/of/the/image TMPDIR=/of/the/image\nexport ITS=own\n")
    return build_sif(tree, folder / "python.sif", compressed=False)


@pytest.fixture(params=["root", "user"])
def home(request: pytest.FixtureRequest, image: Path) -> Iterator[AccountHome]:
    """Yield a home of each kind of account, with the script and the image beside it."""
    if os.geteuid() != 0 and request.param == "root":
        pytest.skip("the tests do not run as root")
    with open_folder() as folder:
        made = AccountHome(folder, USER if request.param == "user" and os.geteuid() == 0 else None)
        (folder / "tries.py").write_text(SCRIPT)
        shutil.copy(image, folder / "python.sif")
        yield made
        made.end()


def run(home: AccountHome, text: str, *options: str) -> dict[str, Any]:
    """Run a job to its verdict; return what it found."""
    done = home.call("submit", home.descriptor(text), "--wait=90s", *options)
    assert done.code == 0, done.out + done.err + home.call("logs", "--stderr", "--all", "last").out
    found: dict[str, Any] = json.loads(home.call("logs", "last").out)
    return found


def on_the_host(home: AccountHome) -> dict[str, Any]:
    """Run the same as that account without anything around it."""
    argv = [*home.before, "/usr/bin/python3", str(home.folder / "tries.py")]
    found: dict[str, Any] = json.loads(subprocess.run(argv, capture_output=True, check=True, cwd="/").stdout)
    return found


def test_a_container_is_refused_what_breaks_out_elsewhere(home: AccountHome) -> None:
    """What the account itself can do, its command cannot; what programs need works; the host's paths are not told."""
    outside = on_the_host(home)["tried"]
    assert {"unshare", "clone3", "keyring"} <= {name for name, got in outside.items() if got}
    text = JOB.format(python="python3") + f'[container]\nimage = "{home.folder}/python.sif"\n'
    found = run(home, text)
    assert not any(found["tried"].values()), found["tried"]
    assert all(found["works"].values()), found["works"]
    assert found["first"] == ["", "", "", ""]
    assert [name for name in found["open"] if name != "/dev/null"] == []
    assert found["container"].startswith("sha256:")
    assert found["home"] == "/nexapod/work"
    (replica,) = home.json("show", "last", "--tasks", "0")["tasks"][0]["replicas"]
    assert replica["isolation"] == "container"
    assert found["home"] == run(home, text + "[job.env]\nA = '1'\n")["home"]
    assert run(home, text.replace("[quorum]", "[job.env]\nHOME = '/tmp'\n[quorum]"))["home"] == "/tmp"  # noqa: S108


def test_a_confined_command_is_refused_the_same(home: AccountHome) -> None:
    """Without an image; of what started it there is only that it is bubblewrap."""
    found = run(home, JOB.format(python="/usr/bin/python3"), "--foreign")
    assert not any(found["tried"].values()), found["tried"]
    assert all(found["works"].values()), found["works"]
    cmdline, environ, *_ = found["first"]
    assert cmdline.split("\0") == ["/usr/bin/bwrap", "--args", "100", "--", "/usr/bin/python3", "tries.py", ""]
    assert {one.partition("=")[0] for one in environ.split("\0") if one} <= {"PATH", "LANG", "PWD"}
    assert [name for name in found["open"] if name != "/dev/null"] == []


def test_an_image_that_is_replaced_while_it_is_in_use_is_no_result(home: AccountHome) -> None:
    """The file that was looked at is the file that was used, or the node failed."""
    image = home.folder / "python.sif"
    text = JOB.format(python="python3").replace('"tries.py"]', '"-c", "import time; open(\'go\', \'w\'); time.sleep(5)"]')
    job = home.json("submit", home.descriptor(text + f'[container]\nimage = "{image}"\n'))["job"]
    (kept,) = (home.path / "images").glob("*.sif")
    until(lambda: list((home.path / "work").glob("*/*/go")), "the command to start")
    other = kept.with_name("other")
    shutil.copyfile(kept, other)
    os.chown(other, kept.stat().st_uid, kept.stat().st_gid)
    other.replace(kept)
    assert home.call("wait", job, "--timeout=90s").code == 0  # by another replica, in the file that is there now
    first, second = home.json("show", job, "--tasks", "0")["tasks"][0]["replicas"]
    assert "replaced while it was in use" in first["reason"]
    assert second["validation"] == "valid"


RECORDS = """[job]
name = "records"
script = '''
#!/bin/sh
{ echo "$0 $*"; pwd; echo "$HOME $TMPDIR $PWD"; export; } > record.txt
'''
[quorum]
agree = 2
max_replicas = 2
distinct = "run"
[[outputs]]
path = "record.txt"
ignore = ["NEXAPOD_NODE", "_="]
"""


def test_what_records_paths_agrees_in_containers_and_confined(home: AccountHome) -> None:
    """Command line, folder, home, temporary folder and environment are the same for both replicas."""
    for text, place, options in (
        (f'{RECORDS}[container]\nimage = "{home.folder}/python.sif"\n', "/nexapod", ()),
        (RECORDS, "/tmp/nexapod", ("--foreign",)),  # noqa: S108
    ):
        done = home.call("submit", home.descriptor(text), "--wait=90s", *options)
        assert done.code == 0, done.out + done.err + home.call("explain", "last").out
        lines = (home.path / "results" / str(home.json("show", "last")["job"]["id"]) / "0/record.txt").read_text().splitlines()
        where = [f"{place}/{name}" for name in ("work", "tmp", "work")]
        assert lines[:3] == [f"{place}/script ", f"{place}/work", " ".join(where)]
