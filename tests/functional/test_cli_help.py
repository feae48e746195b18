"""Help, version and completion: complete, and answered without importing what they do not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click
import pytest

from nexapod_batch import __version__
from nexapod_batch.cli import main
from nexapod_batch.cli.command_table import COMMANDS, SECTIONS, Entry
from nexapod_batch.store import Store

if TYPE_CHECKING:
    from pathlib import Path

#: What a listing has no business importing.
HEAVY = {
    *("pydantic", "rich", "nacl", "cryptography", "orjson", "psutil", "dataclasses", "msgspec", "tomli", "importlib.metadata"),
    *("jinja2", "paramiko"),
}


def command_of(entry: Entry) -> click.Command:
    """Return the command of a table entry."""
    command: click.Command = getattr(import_module(f"nexapod_batch.cli.{entry.module}"), entry.attribute)
    return command


def words_of(command: click.Command) -> list[str]:
    """Return what completion should offer after a command."""
    if isinstance(command, click.Group):
        return list(command.commands)
    options = [one for param in command.params if isinstance(param, click.Option) and not param.hidden for one in param.opts]
    choices = [
        str(one)
        for param in command.params
        if isinstance(param, click.Argument) and isinstance(param.type, click.Choice)
        for one in param.type.choices
    ]
    return [one for one in options if one.startswith("--")] + choices


def modules_after(code: str, home: Path) -> set[str]:
    """Return the modules that a fresh interpreter has imported after `code`, beyond those of `import click`."""
    script = (
        "import sys, click; before = set(sys.modules)\n"
        f"{code}\n"
        "import json; print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)"
    )
    env = {"NEXAPOD_HOME": str(home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("name", COMMANDS)
def test_table_says_what_the_command_says(name: str) -> None:
    """The static table has the command's own name, first line of help, and options."""
    entry = COMMANDS[name]
    command = command_of(entry)
    assert name == command.name
    assert entry.summary == (command.help or "").splitlines()[0]
    assert list(entry.words) == words_of(command)


def test_every_command_is_in_one_section() -> None:
    """The help lists every command exactly once."""
    assert sorted(COMMANDS) == sorted(name for names in SECTIONS.values() for name in names)


def parts_of(command: click.Command) -> list[click.Command]:
    """Return a command, or of a group all that are in it."""
    if isinstance(command, click.Group):
        return [part for inner in command.commands.values() for part in parts_of(inner)]
    return [command]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json(name: str) -> None:
    """Every command and subcommand has `--json`, but for the one that prints shell scripts."""
    command = command_of(COMMANDS[name])
    assert name == "completion" or all("--json" in words_of(part) for part in parts_of(command))


@pytest.mark.parametrize("name", COMMANDS)
def test_subcommands_are_told_in_a_line_that_fits(name: str) -> None:
    """The list of a group cuts nothing off."""
    command = command_of(COMMANDS[name])
    inner = command.commands if isinstance(command, click.Group) else {}
    assert [one for one, sub in inner.items() if len((sub.help or "x" * 99).splitlines()[0]) > 60] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`COMMAND --help` prints the summary and ends with 0."""
    assert main([name, "--help"]) == 0
    assert " ".join(COMMANDS[name].summary.split()) in " ".join(capsys.readouterr().out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints program and version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nexapod-batch {__version__}\n"


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["completion", "bash"]])
def test_help_imports_click_and_the_table_alone(argv: list[str], tmp_path: Path) -> None:
    """Help, version and completion import nothing of the package beyond the root of the command line."""
    found = modules_after(f"from nexapod_batch.cli import main; main({argv})", tmp_path)
    ours = {name.removeprefix("nexapod_batch.") for name in found if name.startswith("nexapod_batch.")}
    root = {"cli", "cli.app", "cli.command_table", "errors", "files", "files.umask"}
    assert ours - root <= {"cli.commands", "cli.commands.completion", "cli.examples", "cli.global_options"}
    assert not found & HEAVY


@pytest.mark.parametrize("argv", [["ls"], ["show", "1"], ["node", "ls"]])
def test_listing_imports_nothing_heavy(argv: list[str], tmp_path: Path) -> None:
    """Listings import the store and little else: no nouns, keys, plug-ins, settings files or terminal library."""
    Store.open(tmp_path / "state.db", create=True).close()
    found = modules_after(f"from nexapod_batch.cli import main; main({argv})", tmp_path)
    assert not found & HEAVY
    assert not {name for name in found if name.startswith(("nexapod_batch.model", "nexapod_batch.plugins"))}


@pytest.mark.parametrize("argv", [["ls"], ["show", "1"]])
def test_a_look_needs_no_pathlib(argv: list[str], tmp_path: Path) -> None:
    """Importing pathlib takes longer than the look into the database."""
    Store.open(tmp_path / "state.db", create=True).close()
    assert "pathlib" not in modules_after(f"from nexapod_batch.cli import main; main({argv})", tmp_path)


def test_misspelt_command_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command is a usage error that names the nearest known one."""
    assert main(["submti"]) == 2
    assert "Did you mean 'submit'?" in capsys.readouterr().err


def test_a_command_leaves_the_umask_as_it_was() -> None:
    """Who calls the command line from a program of their own makes files afterwards as before."""
    before = os.umask(0o027)
    try:
        assert main(["ls", "--help"]) == 0
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
