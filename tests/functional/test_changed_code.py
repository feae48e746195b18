"""A worker of older code serves no new job: when the package changes, one of the new code takes its place."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from spools import until

from nexapod_batch.files.code_version import code_version
from nexapod_batch.spool.lock import live_incarnation

ROOT = Path(__file__).parents[2]
JOB = 'schema = 1\n[job]\nname = "{name}"\ncommand = ["sh", "-c", "{command}"]\n[quorum]\nagree = 1\ndistinct = "run"\n'


class Installed:
    """A copy of the package that a test may change, in an environment of its own, with a home."""

    def __init__(self, folder: Path) -> None:
        """Copy the code and make the environment."""
        self.code, self.home, self.folder = folder / "code", folder / "home", folder
        for source in (ROOT / "nexapod_batch", ROOT / "backends" / "nexapod_backends"):
            shutil.copytree(source, self.code / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self.python = folder / "venv" / "bin" / "python"
        packages = next((folder / "venv" / "lib").glob("python*/site-packages"))
        (packages / "code.pth").write_text(f"{self.code}\n{sysconfig.get_paths()['purelib']}\n")

    def call(self, *argv: object) -> str:
        """Run the program; return what it printed."""
        done = subprocess.run(
            [self.python, "-I", "-c", "from nexapod_batch.cli import main; main()", *map(str, argv)],
            env={**os.environ, "NEXAPOD_HOME": str(self.home)}, cwd=self.folder, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, name: str, command: str, *options: str) -> str:
        """Submit a job of one shell command; return its number."""
        descriptor = self.folder / f"{name}.toml"
        descriptor.write_text(JOB.format(name=name, command=command))
        return str(json.loads(self.call("submit", descriptor, "--json", *options))["job"])

    def stdout(self, job: str) -> str:
        """Return what the accepted task of a job printed."""
        return (self.home / "results" / job / "0" / "stdout").read_text()

    def change(self) -> None:
        """Let commands find another LANG from now on."""
        stage = self.code / "nexapod_batch" / "runner" / "execution" / "stage.py"
        text = stage.read_text()
        assert '"LANG": "C.UTF-8"' in text
        stage.write_text(text.replace('"LANG": "C.UTF-8"', '"LANG": "POSIX"'))

    @property
    def spool(self) -> Path:
        """The spool of the only node."""
        return next((self.home / "spool").iterdir())


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    """Return a changeable installation; its worker is ended afterwards."""
    one = Installed(tmp_path)
    yield one
    with suppress(FileNotFoundError):  # it idles, and has told who it is
        os.kill(json.loads((one.spool / "running.json").read_text())["pid"], signal.SIGTERM)
    until(lambda: live_incarnation(one.spool) is None, "the worker to end")


@pytest.mark.slow
def test_the_next_job_runs_under_the_new_rules(installed: Installed) -> None:
    """A worker that idles when the package changes makes room: the next job sees the new code, without a pause."""
    before = installed.submit("before", "echo $LANG", "--wait")
    worker = live_incarnation(installed.spool)
    assert worker
    installed.change()
    after = installed.submit("after", "echo $LANG", "--wait")
    assert installed.stdout(before) == "C.UTF-8\n"
    assert installed.stdout(after) == "POSIX\n"
    assert live_incarnation(installed.spool) != worker


@pytest.mark.slow
def test_what_runs_is_not_disturbed(installed: Installed) -> None:
    """What runs when the package changes ends as it began; what came meanwhile waits for the new worker."""
    gate = installed.folder / "gate"
    running = installed.submit("running", f"echo $LANG; while ! [ -e {gate} ]; do sleep 0.05; done")
    until(lambda: "running.json" in os.listdir(installed.spool), "the job to run")
    worker = live_incarnation(installed.spool)
    installed.change()
    later = installed.submit("later", "echo $LANG")
    until(lambda: "the code" not in _log(installed) and live_incarnation(installed.spool) == worker, "it to go on")
    gate.touch()
    installed.call("wait", running, later)
    assert installed.stdout(running) == "C.UTF-8\n"
    assert installed.stdout(later) == "POSIX\n"
    assert "the code changed" in _log(installed)


def _log(installed: Installed) -> str:
    return (installed.spool / "worker.log").read_text()


def _edit(code: Path) -> None:
    (code / "a.py").write_text("b = 2\n")


def _touch(code: Path) -> None:
    os.utime(code / "a.py", (1, 1))


def _add(code: Path) -> None:
    (code / "deep" / "new.py").touch()


def _remove(code: Path) -> None:
    (code / "deep" / "b.py").unlink()


def _rename(code: Path) -> None:
    (code / "a.py").rename(code / "c.py")


def _cache(code: Path) -> None:
    (code / "__pycache__").mkdir(exist_ok=True)
    (code / "__pycache__" / "a.cpython-311.pyc").touch()


def _text(code: Path) -> None:
    (code / "README.md").write_text("more")


def _nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("how", "differs"),
    [
        (_edit, True), (_touch, True), (_add, True), (_remove, True), (_rename, True),
        (_cache, False), (_text, False), (_nothing, False),
    ],
    ids=lambda one: one.__name__.strip("_") if callable(one) else str(one),
)  # fmt: skip
def test_a_version_changes_with_the_source_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Callable[[Path], None], differs: bool
) -> None:
    """Whatever happens to a source file is another version; caches and other files are not."""
    package = f"changing{how.__name__}"
    code = tmp_path / package
    (code / "deep").mkdir(parents=True)
    for name in ("__init__.py", "a.py", "deep/b.py"):
        (code / name).write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    __import__(package)
    before = code_version([package])
    how(code)
    assert (code_version([package]) != before) is differs
