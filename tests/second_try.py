"""A second try for what fails among others: `second_try.py CODE FAILED` runs alone what `--failed-to=FAILED` wrote down.

Tests that start clusters and workers can fail for want of a machine that is theirs. Such a test passes at the second try,
which is said aloud, and what it said at first is kept: it is a fault all the same, of the test or of the program. Where
many fail, or one fails that starts nothing, no second try can make the run a good one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

__all__ = ["pytest_addoption", "pytest_collectreport", "pytest_configure", "pytest_runtest_logreport"]

#: Tests that get a second try, at most.
MOST = 5
#: Whose tests start processes, and get one.
FOLDERS = ("tests/real/", "tests/functional/", "tests/conformance/")
#: Exit code of pytest when tests failed; others say that it could not do its work.
FAILED = 1

_files: list[Path] = []  # into which failures go: one in the process that has all reports, none in others


# ---- the first run writes down what fails


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where."""
    parser.addoption("--failed-to", metavar="FILE", help="write the name and the words of what fails into a file")


def pytest_configure(config: pytest.Config) -> None:
    """Begin with an empty file."""
    name = config.getoption("failed_to")
    if name and "PYTEST_XDIST_WORKER" not in os.environ:
        Path(name).write_text("", encoding="utf-8")
        _files[:] = [Path(name)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down a test that fails, or whose fixtures do."""
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write down a file that cannot be read."""
    _note(report)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.failed:
        return
    line = json.dumps([report.nodeid, report.longreprtext])
    for file in _files:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


# ---- then what failed is run again


def failures(file: Path) -> dict[str, str]:
    """Return what every test said that failed, by its name."""
    found: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, text = json.loads(line)
        found[name] = f"{found[name]}\n\n{text}" if name in found else text
    return found


def tried_again(failed: Mapping[str, str]) -> list[str]:
    """Return which of the tests that failed get a second try."""
    if len(failed) > MOST:
        return []
    return [name for name in failed if name.startswith(FOLDERS)]


def main(code: int, file: Path) -> int:
    """Run again, alone and one after another, what may be; return the exit code of the whole."""
    failed = failures(file) if code == FAILED else {}
    again = tried_again(failed)
    if not again:
        return code
    passed = [name for name in again if _passes(name)]
    kept = file.with_suffix(".txt")
    kept.write_text("\n\n".join(f"==== {name}\n\n{failed[name]}" for name in passed) + "\n", encoding="utf-8")
    print("== second try")
    for name in failed:
        if name in passed:
            print(f"passed at the second try: {name}")
        else:
            print(f"failed: {name}")
    if passed:
        print(f"A test that passes only at the second try has a fault, or has found one; what was said at first: {kept}")
    return code if len(passed) < len(failed) else 0


def _passes(name: str) -> bool:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", name]
    return subprocess.run(argv, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
