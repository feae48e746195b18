"""What fails among others is tried again alone, and said aloud; what starts nothing gets one try."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import second_try

#: A test that passes from its second run on, one that never does, and the first lines of what they say.
SHY = "from pathlib import Path\ndef test_shy():\n    seen = Path(__file__).with_suffix('.seen')\n    before = seen.exists()\n    seen.touch()\n    assert before, 'for the first time'\n"
BAD = "def test_bad():\n    raise AssertionError('never')\n"
GOOD = "def test_good():\n    pass\n"


def run(folder: Path, **tests: str) -> tuple[int, str, str]:
    """Run tests, by folder, as bin/test does; return the exit code, the section on second tries, and what is kept."""
    ours = Path(second_try.__file__).parent
    (folder / "pyproject.toml").write_text(f'[tool.pytest.ini_options]\npythonpath = ["{ours}"]\naddopts = ["--import-mode=importlib"]\n')
    (folder / "conftest.py").write_text("from second_try import *\n")
    for name, text in tests.items():
        file = folder / "tests" / name / f"test_{name}.py"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    failed = folder / "failed.jsonl"
    first = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--failed-to={failed}", "tests"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    code = subprocess.run(first, cwd=folder, capture_output=True, env=env, check=False).returncode
    second = [sys.executable, second_try.__file__, str(code), str(failed)]
    done = subprocess.run(second, cwd=folder, capture_output=True, text=True, env=env, check=False)
    kept = failed.with_suffix(".txt")
    return done.returncode, done.stdout.partition("== second try\n")[2], kept.read_text() if kept.exists() else ""


def test_a_test_that_passes_alone_is_named(tmp_path: Path) -> None:
    """The run is a good one, and what the test said at first is kept."""
    code, said, kept = run(tmp_path, functional=SHY + GOOD, unit=GOOD)
    assert code == 0
    assert said.splitlines()[0] == "passed at the second try: tests/functional/test_functional.py::test_shy"
    assert "for the first time" in kept
    assert f"{tmp_path}/failed.txt" in said


def test_what_fails_twice_and_what_gets_one_try(tmp_path: Path) -> None:
    """Both are failures of the run."""
    code, said, kept = run(tmp_path, functional=SHY, real=BAD, unit=SHY)
    assert code == 1
    assert sorted(said.splitlines()[:3]) == [
        "failed: tests/real/test_real.py::test_bad",
        "failed: tests/unit/test_unit.py::test_shy",
        "passed at the second try: tests/functional/test_functional.py::test_shy",
    ]
    assert "never" not in kept
    assert (tmp_path / "tests/unit/test_unit.seen").exists()


@pytest.mark.parametrize(
    ("failed", "again"),
    [
        (["tests/real/a.py::b", "tests/functional/a.py::b[x]", "tests/conformance/a.py::C::b"], 3),
        (["tests/unit/a.py::b", "tests/property/a.py::b"], 0),
        (["tests/unit/a.py::b", "tests/real/a.py::b"], 1),
        ([f"tests/real/a.py::b[{number}]" for number in range(5)], 5),
        ([f"tests/real/a.py::b[{number}]" for number in range(6)], 0),  # no flake any more
        ([f"tests/unit/a.py::b[{number}]" for number in range(5)] + ["tests/real/a.py::b"], 0),
    ],
)
def test_who_gets_a_second_try(failed: list[str], again: int) -> None:
    """At most five that failed, and of these who starts processes."""
    assert len(second_try.tried_again(dict.fromkeys(failed, ""))) == again


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5])
def test_what_is_no_failure_of_tests_is_passed_on(tmp_path: Path, code: int) -> None:
    """A good run, an interrupted one, and one that found no tests are what they are."""
    assert second_try.main(code, tmp_path / "nothing") == code
