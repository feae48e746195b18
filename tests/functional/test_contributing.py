"""CONTRIBUTING.md works as printed: each recipe is applied to a copy of the checkout, and its commands are run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
#: What a recipe may change, and what its commands need.
COPIED = ("nexapod_batch", "backends", "tests", "docs", "examples", "site-configs", "templates", "README.md", "pyproject.toml")
_BLOCK = re.compile(r"^```(diff|python|toml) (\S+)\n(.*?)^```$|^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RECIPES = dict(re.findall(r"^### (Add [^\n]+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))


def changed(text: str, block: str) -> str:
    """Return a text with a block of `diff` applied: its old lines, found once, become its new ones."""
    lines = block.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(old) == 1, f"{text.count(old)} times in the file:\n{old}"
    return text.replace(old, new)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what recipes change."""
    made = tmp_path / "checkout"
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, made / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, made / name)
    return made


def test_there_is_a_recipe_for_each_usual_change() -> None:
    """None is lost when the page is rewritten."""
    assert {"Add a comparator", "Add a backend", "Add a setting", "Add a command", "Add a migration"} <= set(_RECIPES)


def test_what_the_page_names_is_there() -> None:
    """Files, folders and single tests."""
    named = set(re.findall(r"((?<![\w/-])(?:tests|docs|nexapod_batch|bin)/[\w./-]*\w)(?:::(\w+))?", re.sub(_BLOCK, "", PAGE)))
    assert len(named) > 10
    for path, test in named:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text("utf-8"), test


@pytest.mark.slow
@pytest.mark.parametrize("recipe", _RECIPES)
def test_a_recipe_works_as_printed(checkout: Path, recipe: str) -> None:
    """Its files are enough: the linter, the types of what is new, and its own tests are content."""
    files: list[str] = []
    for kind, name, content, commands in _BLOCK.findall(_RECIPES[recipe]):
        if commands:
            linted = [one for one in files if one.endswith(".py") and not one.startswith("null-backend/")]  # no file of ours
            _run(checkout, f"ruff check {' '.join(linted)}\n{commands}" if linted else commands)
            continue
        file = checkout / name
        file.parent.mkdir(parents=True, exist_ok=True)
        assert file.exists() == (kind == "diff"), name
        file.write_text(changed(file.read_text("utf-8"), content) if kind == "diff" else content, "utf-8")
        files.append(name)
    assert files


def _run(checkout: Path, script: str) -> None:
    """Run commands as they are pasted into a shell, with the copy in the place of what is installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    places = {"PYTHONPATH": f"{checkout}{os.pathsep}{checkout}/installed", "PIP_TARGET": f"{checkout}/installed"}
    env = {**os.environ, **places, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(["sh", "-e"], input=script, cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    assert "no tests ran" not in done.stdout


MESSAGES = {
    "Inputs are fetched once per node\n": 0,
    "x" * 72 + "\n\nWhy.\n": 0,
    "é" * 72 + "\n# what git adds\n": 0,
    "x" * 73 + "\n": 1,
    "Subject\nno empty line\n": 1,
    "fixup! " + "x" * 80 + "\n": 0,
}


@pytest.mark.parametrize("message", MESSAGES)
def test_the_hook_holds_commits_to_the_rules(tmp_path: Path, message: str) -> None:
    """Subjects have at most 72 characters, of whatever alphabet, and a free line after them."""
    file = tmp_path / "message"
    file.write_text(message, "utf-8")
    done = subprocess.run([ROOT / ".githooks/commit-msg", file], capture_output=True, text=True, check=False)
    assert (done.returncode, "->" in done.stderr) == (MESSAGES[message], bool(MESSAGES[message]))


@pytest.mark.parametrize("record", sorted((ROOT / "docs/decisions").glob("0*.md")), ids=lambda path: path.name[:4])
def test_a_decision_has_date_and_status(record: Path) -> None:
    """Below its title; one that is replaced names the record that replaces it, and the list has them all."""
    title, blank, status, *_ = record.read_text("utf-8").splitlines()
    assert re.fullmatch(rf"# ({record.name[:4]}: )?\S.*", title)
    assert blank == ""
    found = re.fullmatch(r"\d{4}-\d\d-\d\d, (proposed|accepted|replaced by \[(\d{4})\]\((\S+)\))", status)
    assert found, status
    assert found[3] is None or (record.parent / found[3]).is_file()
    assert f"]({record.name})" in (record.parent / "README.md").read_text("utf-8")
