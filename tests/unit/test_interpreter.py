"""One place says how interpreters of ours are started, and nothing else in the tree names one."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from nexapod_batch import interpreter

ROOT = Path(__file__).parents[2]
SOURCES = sorted(one for folder in ("nexapod_batch", "backends") for one in (ROOT / folder).rglob("*.py"))
#: Texts that a shell runs.
SCRIPTS = [*sorted((ROOT / "templates").glob("*.jinja")), ROOT / "bin/nexapod-batch"]
HELPER = ROOT / "nexapod_batch/interpreter.py"
#: Its text travels to workers that have nothing of ours.
AGENT = ROOT / "backends/nexapod_backends/dask/scheduler/agent.py"
NAMES = {"executable", "_base_executable", "base_exec_prefix", "exec_prefix"}


def bare_starts(text: str, *, travels: bool = False) -> list[str]:
    """Return where a text of Python starts an interpreter by itself, or bids one to search the current folder."""
    found = []
    tree = ast.parse(text)
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        words = getattr(node, "elts", [])
        said = [one.value if isinstance(one, ast.Constant) else None for one in words]
        if travels and said[1:3] == ["-E", "-P"]:
            guarded |= set(ast.walk(node))
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Attribute) and node.attr in NAMES and getattr(node.value, "id", "") == "sys":
            found.append(f"{node.lineno}: sys.{node.attr}")
        if isinstance(node, ast.ImportFrom) and node.module == "sys" and {one.name for one in node.names} & NAMES:
            found.append(f"{node.lineno}: from sys import")
        if isinstance(node, ast.Constant) and node.value == "-m":
            found.append(f"{node.lineno}: -m")
        first = next(iter(getattr(node, "elts", [])), None)
        if isinstance(first, ast.Constant) and re.match(r"(/usr/bin/)?python3?(\.\d+)?$", str(first.value)):
            found.append(f"{first.lineno}: {first.value!s}")
    return found


def test_no_source_starts_an_interpreter_by_itself() -> None:
    """Neither by `sys.executable` nor by name, nor with a bare `-m`; the helper alone may."""
    found = {str(file): bare_starts(file.read_text(), travels=file == AGENT) for file in SOURCES if file != HELPER}
    assert len(found) > 200
    assert {file: where for file, where in found.items() if where} == {}


@pytest.mark.parametrize(
    "text",
    [
        "run([sys.executable, '-m', 'x'])",
        "from sys import executable",
        "run(['python3', '-c', code])",
        "argv = (python, '-m', name)",
        "argv = [sys.executable, '-E', '-P', '-m', name]",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    """Each kind of start of one's own is seen."""
    assert bare_starts(text)


def test_only_guarded_starts_travel() -> None:
    """What runs where nothing of ours is says the options itself."""
    assert bare_starts("argv = [python or sys.executable, '-E', '-P', '-m', name]", travels=True) == []
    assert bare_starts("argv = [python or sys.executable, '-m', name]", travels=True)


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda one: one.name)
def test_no_script_starts_one_that_searches_the_current_folder(file: Path) -> None:
    """Shell scripts say `-I` first."""
    starts = re.findall(r"(?:\bpython[\d.]*\b|\$\{?python\}?|\$one)\"?[ \t]+(-\S+)", file.read_text())
    assert set(starts) <= {"-I"}
    if file.suffix != ".jinja":
        assert starts


def test_the_words_keep_away_folder_and_variables(tmp_path: Path) -> None:
    """Ours, and another interpreter, import nothing of the current folder nor of what PYTHON variables name."""
    for name in ("random", "msgspec", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("print('foreign')\n")
    env = {**os.environ, "PYTHONPATH": f".:{tmp_path}", "PYTHONSTARTUP": str(tmp_path / "random.py"), "PYTHONINSPECT": ""}
    other = tmp_path / "python3"
    other.symlink_to(sys.executable)
    code = "import random, sys; print(sys.flags.safe_path, sys.flags.ignore_environment)"
    for argv in (interpreter.code(code), interpreter.code(code, python=str(other))):
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        assert done.stdout == "True 1\n"


def test_packages_of_the_account_are_found_where_they_are_used(tmp_path: Path) -> None:
    """An installation with `pip install --user` starts its processes so that they find it, one in an environment not."""
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    site = Path(subprocess.run([base, "-m", "site", "--user-site"], env=env, capture_output=True, text=True, check=False).stdout.strip())
    site.mkdir(parents=True)
    (site / "mine.py").write_text("print('mine')\n")
    ask = f"import sys, subprocess; sys.path.append({str(ROOT)!r}); from nexapod_batch import interpreter; subprocess.run(interpreter.code('import mine'))"
    done = subprocess.run([base, "-P", "-c", ask], env=env, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "mine\n"
    venv.create(tmp_path / "venv", symlinks=True)
    done = subprocess.run([tmp_path / "venv/bin/python", "-c", ask], env=env, cwd="/", capture_output=True, text=True, check=True)
    assert (done.stdout, "No module named 'mine'" in done.stderr) == ("", True)


def test_of_an_environment_nothing_is_passed_on_that_is_not_listed() -> None:
    """Who and where; folders are absolute, and nothing empty is left."""
    given = {
        "PATH": "/bin::.:relative:/usr/bin", "LD_LIBRARY_PATH": ":./lib", "HOME": "/h", "LC_TIME": "de_DE.UTF-8", "TZ": "UTC",
        "LD_PRELOAD": "./x.so", "PYTHONPATH": "/x", "AWS_SECRET_ACCESS_KEY": "secret", "BASH_ENV": "/x", "SSH_AUTH_SOCK": "/x",
        "SLURM_JOB_ID": "1", "TMPDIR": "/x", "LCX": "x", "KRB5CCNAME": "x",
    }  # fmt: skip
    assert interpreter.environment(given) == {"PATH": "/bin:/usr/bin", "HOME": "/h", "LC_TIME": "de_DE.UTF-8", "TZ": "UTC"}
