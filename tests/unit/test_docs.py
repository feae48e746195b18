"""The documentation says what is there: commands, links, and a tutorial that works as printed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import transcripts

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
    if COMMANDS[name].module.rpartition(".")[2] not in {"archives", "database", "tokens", "images", "keys", "ledger", "nodes", "owners", "setup", "sites"}:
        section = re.split(r"\n##+ ", section)[0]
    assert found
    assert COMMANDS[name].summary in section
    missing = [word for word in COMMANDS[name].words if f"`{word}`" not in section and f"`{name} {word}`" not in section]
    assert missing == [] or name == "completion"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_the_pages_exist(page: Path) -> None:
    """Nobody is sent to a command that is not there; a recipe may add one."""
    text = page.read_text(encoding="utf-8")
    added = set(re.findall(r'^\+    "([a-z]+)": Entry\(', text, re.MULTILINE))
    assert commands_in(text) - added - set(COMMANDS) == set()


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
@pytest.mark.parametrize("page", transcripts.PAGES)
def test_what_pages_print_is_what_comes_out(page: str, tmp_path: Path) -> None:
    """Every block, in one shell, as a newcomer would paste them; made again with `python tests/transcripts.py`."""
    blocks = transcripts.runnable(page, transcripts.blocks_of((ROOT / page).read_text(encoding="utf-8")))
    assert blocks
    found = zip(blocks, transcripts.outputs_of(blocks, tmp_path), strict=True)
    stale = {
        block.commands: lines
        for block, output in found
        if block.printed is not None and (lines := transcripts.differences(block.printed, output))
    }
    assert stale == {}
    assert not (tmp_path / "nexapod-tutorial").exists()


@pytest.mark.parametrize(
    ("printed", "found", "stale"),
    [
        ("a\nb\n", "a\nb\n", False),
        ("a\nb\n", "a\nc\n", True),
        ("a\nb\n", "b\na\n", True),
        ("a\n...\nb\n", "a\nx\ny\nb\n", False),
        ("a\n...\nb\n", "a\nx\ny\nc\n", True),
        ("took 115 ms  19 MiB\n", "took 50 ms 20.5 MiB\n", False),
        ("took 115 ms\n", "ended 115 ms\n", True),
        (f"key SHA256:{'a' * 43}\n", f"key SHA256:{'b' * 43}\n", False),
        ("at 2026-11-23 11:54:23 +0000\n", "at 2027-01-01 00:00:00 +0100\n", False),
        ("2 of 2 agree\n", "2 of 3 agree\n", True),
    ],
)
def test_stale_output_is_found(printed: str, found: str, *, stale: bool) -> None:
    """Measured values, keys and times may differ; words, counts and their order may not."""
    assert bool(transcripts.differences(printed, found)) is stale


def test_blocks_are_read_in_order() -> None:
    """Commands with the output behind them, commands without one, and dialogues."""
    text = "```sh\none\n```\n```text\n1\n```\n```sh\ntwo\n```\n```sh\nthree\n```\n```text\n3\n```\n```sh\nsix\n```\n```text\n$ four\n4\n\n$ five\n5\n```\n"
    found = transcripts.blocks_of(text)
    assert [(one.commands.strip(), one.printed and one.printed.strip()) for one in found] == [
        ("one", "1"), ("two", None), ("three", "3"), ("six", None), ("four", "4"), ("five", "5"),
    ]  # fmt: skip
    assert [text[slice(*one.place)] for one in found if one.printed] == [one.printed for one in found if one.printed]
