"""The launcher of a checkout: makes its environment once, also when two start at once, and again when it must."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "bin" / "nexapod-batch"

#: Stands in for Python: notes each environment that it makes; "installs" a program that prints its arguments.
FAKE_PYTHON = """#!/bin/bash
[ "$1" = -I ] || { echo "imports from the current folder"; exit 99; }
shift
case "$1 $2" in
  "-c "*) exit 0 ;;
  "-m venv") echo made >>"$COUNT"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip")
    [ -z "$BROKEN" ] || { echo "no network"; exit 1; }
    printf '#!/bin/bash\\nprintf "%%s|" "$@"\\nexit 7\\n' >"${0%/*}/nexapod-batch"
    chmod +x "${0%/*}/nexapod-batch" ;;
  "-m compileall") ;;
  *) exec "$@" ;;
esac
"""


class Checkout:
    """A copy of the launcher in a folder with an awkward name, and a fake Python."""

    def __init__(self, path: Path) -> None:
        """Lay it out."""
        self.root = path / "a 'b' $c"
        (self.root / "bin").mkdir(parents=True)
        self.program = Path(shutil.copy2(LAUNCHER, self.root / "bin"))
        self.project = self.root / "pyproject.toml"
        self.project.write_text("[project]\n")
        python = path / "python"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)
        self.count = path / "count"
        self.env = {"PATH": os.environ["PATH"], "PYTHON": str(python), "COUNT": str(self.count), "CDPATH": "/"}

    def start(self, *argv: str, program: Path | None = None, **env: str) -> subprocess.Popen[str]:
        """Start the launcher."""
        return subprocess.Popen(
            [str(program or self.program), *argv],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def made(self) -> int:
        """Return how often an environment was made."""
        return len(self.count.read_text().split()) if self.count.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a fresh checkout."""
    return Checkout(tmp_path)


def test_arguments_and_exit_code_pass_through(checkout: Checkout, tmp_path: Path) -> None:
    """The program gets its arguments as they are, also through a link; talk goes to stderr, and only once."""
    first = checkout.start("a b", "", "*")
    out, err = first.communicate(timeout=120)
    assert (out, first.returncode) == ("a b||*|", 7)
    assert "making" in err
    link = tmp_path / "link"
    link.symlink_to(checkout.program)
    second = checkout.start("x", program=link)
    assert second.communicate(timeout=120) == ("x|", "")
    assert checkout.made() == 1


def test_two_at_once_make_one_environment(checkout: Checkout) -> None:
    """Whoever comes second waits for the first and uses what it made."""
    both = [checkout.start("x") for _ in range(4)]
    assert [one.communicate(timeout=120)[0] for one in both] == ["x|"] * 4
    assert checkout.made() == 1


def test_changed_project_file_is_installed_again(checkout: Checkout) -> None:
    """An edit of pyproject.toml, even one that keeps its time, makes it up to date again."""
    checkout.start().communicate(timeout=120)
    before = checkout.project.stat()
    checkout.project.write_text("[project]\n# changed\n")
    os.utime(checkout.project, ns=(before.st_atime_ns, before.st_mtime_ns))
    checkout.start().communicate(timeout=120)
    assert checkout.made() == 2


def test_moved_checkout_is_installed_again(checkout: Checkout) -> None:
    """Scripts of an environment hold absolute paths, so a moved one is made again."""
    checkout.start().communicate(timeout=120)
    moved = checkout.root.with_name("moved")
    checkout.root.rename(moved)
    assert checkout.start("y", program=moved / "bin" / "nexapod-batch").communicate(timeout=120)[0] == "y|"
    assert checkout.made() == 2


def test_failed_installation_is_told_and_tried_again(checkout: Checkout) -> None:
    """When the installation fails the reason and the log are named, and the next start tries again."""
    broken = checkout.start(BROKEN="1")
    _, err = broken.communicate(timeout=120)
    assert broken.returncode == 78
    assert "no network" in err
    assert "install.log" in err
    assert checkout.start("z").communicate(timeout=120)[0] == "z|"


@pytest.mark.parametrize(
    ("part", "owner", "mode", "said"),
    [
        (".venv", 65_534, 0o755, "belongs to somebody else"),
        (".venv/bin/nexapod-batch", 65_534, 0o755, "belongs to somebody else"),
        (".venv", 0, 0o775, "chmod -R go-w"),
        (".venv/bin", 0, 0o777, "chmod -R go-w"),
        (".venv/installed", 0, 0o664, "chmod -R go-w"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_an_environment_of_somebody_else_is_not_run(
    checkout: Checkout, part: str, owner: int, mode: int, said: str
) -> None:
    """What others can change is not run, and the step that helps is told; made anew under any umask it is ours alone."""
    first = checkout.start()
    first.communicate()
    assert first.returncode == 7
    os.chown(checkout.root / part, owner, -1)
    (checkout.root / part).chmod(mode)
    again = checkout.start()
    _, err = again.communicate()
    assert (again.returncode, said in err) == (78, True), err
    shutil.rmtree(checkout.root / ".venv")
    made = subprocess.run(["sh", "-c", 'umask 002; "$0"', checkout.program], env=checkout.env, check=False, capture_output=True)
    assert made.returncode == 7
    assert not (checkout.root / ".venv/bin").stat().st_mode & 0o022
    last = checkout.start()
    last.communicate()
    assert last.returncode == 7
