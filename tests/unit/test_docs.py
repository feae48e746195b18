"""The documentation says what is there: commands, links, and a tutorial that works as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nexapod_batch.cli.command_table import COMMANDS
from nexapod_batch.cli.reference import reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
REFERENCE = ROOT / "docs/reference/commands.md"


def commands_in(text: str) -> set[str]:
    """Return what follows the program's name, with or without a folder, where code shows it as a command."""
    code = "".join(re.findall(r"^```.*?^```$|^ {4}[^\n]*\n|`[^`\n]+`", text, flags=re.MULTILINE | re.DOTALL))
    return set(re.findall(r"\bnexapod-batch ([a-z]+)\b", code))


def anchor(heading: str) -> str:
    """Return the fragment that renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_command_reference_is_current() -> None:
    """Made again with `python -m nexapod_batch.cli.reference > docs/reference/commands.md`."""
    assert reference() == REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    """With its summary, and every option or subcommand that completion offers."""
    text = REFERENCE.read_text(encoding="utf-8")
    _, found, section = text.partition(f"\n### `{name}`\n")
    if COMMANDS[name].module.rpartition(".")[2] not in {"database", "images", "ledger", "nodes", "setup", "sites"}:
        section = re.split(r"\n##+ ", section)[0]
    assert found
    assert COMMANDS[name].summary in section
    missing = [word for word in COMMANDS[name].words if f"`{word}`" not in section and f"`{name} {word}`" not in section]
    assert missing == [] or name == "completion"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_the_pages_exist(page: Path) -> None:
    """Nobody is sent to a command that is not there."""
    assert commands_in(page.read_text(encoding="utf-8")) - set(COMMANDS) == set()


def test_what_the_readme_says_to_run_is_there() -> None:
    """Both programs, executable, the job, and commands beside them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    programs = set(re.findall(r"^(bin/[a-z-]+)", text, flags=re.MULTILINE))
    assert programs == {"bin/nexapod-batch", "bin/test"}
    assert all(os.access(ROOT / program, os.X_OK) for program in programs)
    jobs = re.findall(r"examples/\S+\.toml", text)
    assert jobs
    assert all((ROOT / job).is_file() for job in jobs)
    assert {"submit", "explain"} <= commands_in(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    """Files and headings; links elsewhere are not looked at."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            broken.append(target)
        elif fragment:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            if fragment not in map(anchor, headings):
                broken.append(target)
    assert broken == []


def test_the_index_lists_every_page() -> None:
    """A page that nobody finds might as well not be there."""
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"index.md"}
    assert pages - set(re.findall(r"\]\(([^)\s]+)\)", index)) == set()


@pytest.mark.slow
def test_the_tutorial_works_as_printed(tmp_path: Path) -> None:
    """Every block, in one shell, as a newcomer would paste them; verdicts and OpenSSL say what the page says."""
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    script = "set -e\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
    env = {"HOME": str(tmp_path), "PATH": path, "LANG": "C.UTF-8"}
    done = subprocess.run(["bash"], input=script, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, "Signature Verified Successfully" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "1_0.3 on node mallory" in done.stdout
    assert not (tmp_path / "nexapod-tutorial").exists()
