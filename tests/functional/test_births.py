"""Nothing of whoever submits reaches what runs: not the folder, the environment, open files, keys, nor memory."""

from __future__ import annotations

import ctypes
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from apptainer.accounts import USER, AccountHome
from homes import TRUE, open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A job whose command writes JSON to stdout.
JOB = """
[job]
name = "look"
command = ["python3", "look.py"]
[[inputs]]
source = "look.py"
[quorum]
agree = 1
distinct = "run"
"""
#: Everything that a command can find of whoever stands behind it.
LOOK = r"""
import ctypes, json, os, resource

def told(path):
    try:
        with open(path, "rb") as stream:
            return stream.read(100_000).decode("utf-8", "replace")
    except OSError as error:
        return f"error {error.errno}"

def above():
    "Return this process and all above it that belong to somebody whose files can be read."
    pid = os.getpid()
    while pid > 1:
        yield pid
        with open(f"/proc/{pid}/stat") as stream:
            pid = int(stream.read().rpartition(")")[2].split()[1])

def links(pid):
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            pass
    return found

def listing(pid):
    try:
        return sorted(links(pid).values())
    except OSError as error:
        return f"error {error.errno}"

libc = ctypes.CDLL(None, use_errno=True)
runner = list(above())[1]
print(json.dumps({
    "fds": {number: path for number, path in links("self").items() if number > 2 and not path.startswith("/proc/")},
    "environ": dict(os.environ),
    "runner": [told(f"/proc/{runner}/environ"), listing(runner), told(f"/proc/{runner}/mem")],
    "key": libc.syscall(NUMBER, 10, ctypes.c_long(-3), b"user", b"nexapod-secret", 0) >= 0,
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    "cwd": os.getcwd(),
}))
"""
_KEYCTL = {"x86_64": 250, "aarch64": 219, "ppc64le": 271, "s390x": 280}[os.uname().machine]
_SEARCH, _JOIN, _SESSION = 10, 1, ctypes.c_long(-3)
_ADD_KEY = {"x86_64": 248, "aarch64": 217, "ppc64le": 269, "s390x": 278}[os.uname().machine]
#: Words that start what follows with a session keyring that holds a key, and with descriptors of a shell left open.
_SUBMITTER = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None)
assert libc.syscall({_KEYCTL}, {_JOIN}, 0) > 0
assert libc.syscall({_ADD_KEY}, b"user", b"nexapod-secret", b"word", 4, ctypes.c_long(-3)) > 0
assert libc.syscall({_KEYCTL}, {_SEARCH}, ctypes.c_long(-3), b"user", b"nexapod-secret", 0) > 0
for number in (7, 63, 255):
    os.dup2(os.open(sys.argv[1], os.O_RDONLY), number, inheritable=True)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(params=["root", USER])
def home(request: pytest.FixtureRequest) -> Iterator[AccountHome]:
    """Yield a home of whoever runs the tests, and one of an ordinary account."""
    if request.param != "root" and os.geteuid():
        pytest.skip("only root can be somebody else")
    with open_folder() as folder:
        home = AccountHome(folder, None if request.param == "root" else USER)
        try:
            yield home
        finally:
            home.end()


def looked(home: AccountHome, *before: str, env: dict[str, str] | None = None) -> dict[str, object]:
    """Run the job that looks around; return what it saw."""
    (home.folder / "look.py").write_text(LOOK.replace("NUMBER", str(_KEYCTL)))
    path = home.descriptor(JOB)
    done = home.call("submit", path, "--wait", before=before, env=env)
    assert done.code == 0, done.err
    found: dict[str, object] = json.loads(home.call("logs", "last").out)
    return found


def test_a_command_finds_nothing_of_who_submits(home: AccountHome) -> None:
    """Descriptors, session keyring and environment of the submitter's shell end with the submission."""
    secret = home.folder / "secret"
    secret.mkdir()
    env = {"AWS_SECRET_ACCESS_KEY": "nexapod-word", "PYTHONINSPECT": "", "TMPDIR": str(secret), "BASH_ENV": "/nexapod-word"}
    saw = looked(home, sys.executable, "-c", _SUBMITTER, str(secret), env=env)
    assert saw["fds"] == {}
    assert saw["key"] is False
    assert saw["core"] == 0
    assert str(saw["cwd"]).startswith(str(home.path / "work"))
    assert not {"AWS_SECRET_ACCESS_KEY", "BASH_ENV", "PYTHONINSPECT", "XDG_RUNTIME_DIR"} & set(saw["environ"])  # type: ignore[call-overload]
    runner: Any = saw["runner"]
    environ, fds, memory = runner
    assert "nexapod-word" not in environ
    if home.before:  # an ordinary account; root may look into everything
        assert (environ, fds, memory) == ("error 13", "error 13", "error 13")
    else:
        assert "PATH=" in environ
        assert not [path for path in fds if path.startswith(str(secret))]


HOSTILE = "import os\nopen({mark!r}, 'a').close()\nos.kill(os.getpid(), 9)\n"
#: Modules that a process of ours imports early, late, or that Python itself looks for.
NAMES = ("nexapod_batch", "nexapod_backends", "msgspec", "orjson", "random", "secrets", "ctypes", "resource", "nacl", "shutil")


def plant(folder: Path, mark: Path, names: tuple[str, ...] = NAMES) -> None:
    """Put modules into a folder, as files and as packages, that leave a mark and end who imports them."""
    text = HOSTILE.format(mark=str(mark))
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
        (folder / f"{name}.py").write_text(text)


def test_modules_in_the_submitters_folder_stay_there(home: AccountHome, tmp_path: Path) -> None:
    """In a folder of a stranger's with modules of well-known names a job is run as anywhere else."""
    mark = home.folder / "mark"
    plant(home.folder, mark)
    saw = looked(home)
    assert saw["fds"] == {}
    assert not mark.exists()
    for argv in (("site", "check", "local"), ("doctor",), ("node", "status")):
        home.call(*argv)
    assert not mark.exists()


@pytest.mark.parametrize("path", [".", ":/nexapod/none", "{folder}", "{folder}:.", "/nexapod/none:"])
def test_what_pythonpath_names_comes_last(tmp_path: Path, path: str) -> None:
    """Broken or hostile modules of well-known names there stop neither the command nor a replica, nor run."""
    home = AccountHome(tmp_path, None)
    mark = tmp_path / "mark"
    plant(tmp_path, mark, tuple(name for name in NAMES if not name.startswith("nexapod")) + ("click", "json", "sqlite3", "paramiko"))
    env = {"PYTHONPATH": path.format(folder=tmp_path), "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2"}
    try:
        for argv in (("--version",), ("--help",), ("ls",), ("submit", home.descriptor(TRUE), "--wait"), ("show", "1"), ("verify", "1")):
            done = home.call(*argv, env=env)
            assert (done.code, "foreign" in done.err) == (0, False), done.err
        assert not mark.exists()
    finally:
        home.end()


#: Files that are small, and say of themselves that they are large where a format lets them.
SMALL = """
[job]
name = "small"
script = '''
#!/bin/sh
head -c 1000 /dev/zero > raw
cp data copied
for i in 1 2 3; do echo "0.$i,2.5"; done > table.csv
head -c 6000 /dev/zero | tr '\\0' x > more
'''
[[inputs]]
source = "data"
[[outputs]]
path = "raw"
[[outputs]]
path = "copied"
[[outputs]]
path = "more"
[[outputs]]
path = "table.csv"
compare = "allclose"
rtol = 1e-6
[quorum]
distinct = "run"
"""


@pytest.mark.parametrize("kib", [350_000, 500_000, 1_000_000])
def test_little_memory_is_enough_for_small_files(tmp_path: Path, kib: int) -> None:
    """With `ulimit -v` as login nodes have it: inputs, outputs of each kind, comparing, publishing and showing."""
    home = AccountHome(tmp_path, None)
    try:
        (tmp_path / "data").write_bytes(b"x" * 1000)
        limited = ("sh", "-c", f'ulimit -v {kib} && exec "$@"', "sh")
        done = home.call("submit", home.descriptor(SMALL), "--wait", before=limited)
        assert done.code == 0, done.err
        for argv in (("show", "1"), ("verify", "1"), ("report", "1"), ("results", "1"), ("doctor",)):
            assert home.call(*argv, before=limited).code == 0, argv
    finally:
        home.end()


def test_a_file_that_lies_about_its_size_takes_no_memory(tmp_path: Path) -> None:
    """Read is what is there, not what a header says; the file is refused as what it is."""
    from nexapod_batch.compare.stream import Source

    class Counting(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.most = max(self.most, size or 0)
            return super().read(size)

    stream = Counting(b"x" * 1000)
    assert Source(stream, "x").read(1 << 40) == b"x" * 1000
    assert stream.most <= 1 << 20
