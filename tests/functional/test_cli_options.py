"""Options that every command takes, errors as data, the shapes of what programs read, examples, the manual page."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
import pytest
from homes import TRUE, Home

from nexapod_batch.cli import main
from nexapod_batch.cli.command_table import COMMANDS
from nexapod_batch.cli.commands.manual import manual_page
from nexapod_batch.cli.examples import EXAMPLES
from nexapod_batch.cli.output_shapes import SHAPES, json_schema

if TYPE_CHECKING:

    from nexapod_batch.cli.output_shapes import Shape


def commands() -> dict[str, click.Command]:
    """Return every command and subcommand by its path."""
    found: dict[str, click.Command] = {}
    for name, entry in COMMANDS.items():
        command = getattr(import_module(f"nexapod_batch.cli.{entry.module}"), entry.attribute)
        found |= leaves(name, command)
    return found


def leaves(path: str, command: click.Command) -> dict[str, click.Command]:
    """Return a command by its path, of a group all that are in it."""
    if not isinstance(command, click.Group):
        return {path: command}
    return {inner: one for name, sub in command.commands.items() for inner, one in leaves(f"{path} {name}", sub).items()}


def fits(value: Any, shape: Shape, where: str = "") -> list[str]:
    """Return where a value is not of a shape."""
    if isinstance(shape, tuple):
        tries = [fits(value, one, where) for one in shape]
        return [] if [] in tries else tries[0]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [where]
        return [fault for number, one in enumerate(value) for fault in fits(one, shape[0], f"{where}[{number}]")]
    if not isinstance(shape, dict):
        good = value is None if shape is None else type(value) is shape
        return [] if good else [f"{where}: {value!r}"]
    if not isinstance(value, dict):
        return [where]
    if set(shape) == {str}:
        return [fault for name, one in value.items() for fault in fits(one, shape[str], f"{where}.{name}")]
    faults = []
    for key, inner in shape.items():
        name = key.removesuffix("?")
        if name in value:
            faults += fits(value[name], inner, f"{where}.{name}")
        elif name == key:
            faults.append(f"{where}.{name} is missing")
    return faults


@pytest.mark.parametrize(
    ("argv", "code", "kind"),
    [
        (["show", "7", "--json"], 66, "not_found"),
        (["show", "x y", "--json"], 2, "usage"),
        (["show", "--nope", "--json"], 2, "usage"),
        (["submit", "no.toml", "--json"], 65, "descriptor"),
        (["submit", "bad.toml", "--json"], 65, "descriptor"),
        (["--nope", "--json"], 2, "usage"),
        (["sbatch", "--json"], 2, "usage"),
        (["wait", "1", "--timeout", "soon", "--json"], 2, "usage"),
    ],
)
def test_errors_are_data(home: Home, argv: list[str], code: int, kind: str) -> None:
    """With --json an error is one object on stdout, of the shape that is documented; its message stays on stderr."""
    (home.folder / "bad.toml").write_text("schema = 1\n[job]\nnmae = 1\n[resources]\nmem = 'x'\n")
    assert home.submit(TRUE + "[schedule]\nhold = true\n").code == 0
    done = home.call(*argv)
    document = json.loads(done.out)
    assert (done.code, document["error"]["exit_code"], document["error"]["code"]) == (code, code, kind)
    assert fits(document, SHAPES["error"]) == []
    assert done.err.strip()
    if argv[1] == "bad.toml":
        assert len(document["error"]["problems"]) >= 2


def test_json_after_the_end_of_options_is_the_jobs_own(home: Home) -> None:
    """A command of a job that has --json itself does not ask for errors as data."""
    assert home.call("submit", "--time", "x", "--", "prog", "--json").out == ""


def test_what_programs_read_has_its_shape(home: Home) -> None:
    """Each command's object fits the schema that is published for it."""
    submitted = home.json("submit", home.descriptor(TRUE), "--wait")
    found = {"submit": submitted, **{name: home.json(name, "last") for name in ("show", "explain", "logs", "wait", "results")}}
    found |= {"ls": home.json("ls"), "reconcile": home.json("reconcile")}
    found |= {"verify": home.json("verify", "last"), "logs --verify": home.json("logs", "last", "--verify")}
    for name in ("left", "right"):
        (home.folder / name).write_text(f"1 {name}\n")
    found |= {"compare": home.json("compare", home.folder / "left", home.folder / "right", code=1)}
    found |= {"judge": home.json("judge", "last", "--ignore", "^x")}
    home.submit(TRUE + "[schedule]\nhold = true\n")
    found |= {name: home.json(name, "2") for name in ("hold", "release", "cancel", "retry")}
    assert {name: fits(document, SHAPES[name]) for name, document in found.items()} == {name: [] for name in found}
    assert set(found) | {"error"} == set(SHAPES)


def test_a_verification_has_one_shape(home: Home) -> None:
    """Of a job, of an exported folder and of one that was changed: with --json it is the same object."""
    assert home.submit(TRUE, "--wait").code == 0
    proof = home.folder / "proof"
    assert home.call("attestations", "last", "--out", proof).code == 0
    whole = home.json("verify", "--folder", proof)
    assert fits(whole, SHAPES["verify"]) == []
    assert {check["check"] for check in whole["checks"]} == {"files", "job", "keys", "statement", "verdict", "ledger"}
    (proof / "job.json").write_text("{}")
    changed = home.json("verify", "--folder", proof, code=1)
    assert fits(changed, SHAPES["verify"]) == []
    assert (changed["ok"], changed["job"], [check["check"] for check in changed["checks"]]) == (False, None, ["files"])


@pytest.mark.parametrize("name", SHAPES)
def test_schemas_are_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`schema output` prints the JSON Schema of each."""
    assert main(["schema", "output", name]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json_schema(name)
    assert set(document["required"]) >= {"schema"}


@pytest.mark.parametrize("path", commands())
def test_every_help_has_examples_that_are_understood(path: str) -> None:
    """Each example of a command names it, and options that it has."""
    command = commands()[path]
    assert EXAMPLES[path]
    known = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}
    known |= {"--from-slurm"} if path == "site init" else set()
    for example in EXAMPLES[path]:
        text = example.removeprefix("source <(").split(" | ")[0].split(" > ")[0].rstrip(")")
        words = shlex.split(text)
        own = path.split()
        assert words[: len(own) + 1] == ["nexapod-batch", *own]
        options = words[: words.index("--")] if "--" in words else words
        assert {word.partition("=")[0] for word in options if word.startswith("--")} <= known


@pytest.mark.parametrize("path", ["show", "node ls", "submit"])
def test_examples_are_in_the_help(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` ends with the examples."""
    assert main([*path.split(), "--help"]) == 0
    assert all(f"  {example}" in capsys.readouterr().out or example in EXAMPLES[path] for example in EXAMPLES[path][:1])


@pytest.mark.parametrize(
    ("argv", "env", "coloured"),
    [
        (["show", "1"], {}, False),
        (["show", "1", "--color", "always"], {}, True),
        (["--color", "always", "show", "1"], {}, True),
        (["show", "1"], {"FORCE_COLOR": "1"}, True),
        (["show", "1"], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (["show", "1", "--color", "never"], {"FORCE_COLOR": "1"}, False),
        (["show", "1", "--color", "always"], {"NO_COLOR": "1"}, True),
        (["show", "1", "--json", "--color", "always"], {}, False),
    ],
)
def test_colour(home: Home, argv: list[str], env: dict[str, str], coloured: bool) -> None:
    """The option wins over NO_COLOR, that over FORCE_COLOR, that over what stdout is; data is never coloured."""
    assert home.submit(TRUE, "--wait").code == 0
    assert ("\x1b[32maccepted\x1b[0m" in home.call(*argv, env=env).out) == coloured


@pytest.mark.parametrize("argv", [("-q", "submit"), ("submit", "-q")])
def test_quiet(home: Home, argv: tuple[str, ...]) -> None:
    """With -q stderr holds errors alone, wherever it stands."""
    job = home.descriptor(TRUE)
    assert home.call("submit", job, "--wait").err != ""
    assert home.call(*argv, job, "--wait").err == ""
    assert home.call("-q", "show", "99").err != ""


def test_quiet_ends_with_its_command(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What one command was told holds for no other in the same process."""
    home.path.mkdir()
    monkeypatch.setenv("NEXAPOD_HOME", str(home.path))
    assert main(["-q", "ls"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["ls"]) == 0
    assert capsys.readouterr().err == "no jobs\n"


def test_the_manual_page() -> None:
    """It has every command with its options, and a formatter takes it without a warning."""
    page = "\n".join(manual_page()) + "\n"
    for path in commands():
        assert f'.SS "{path.replace("-", chr(92) + "-")}' in page
    assert "\\-\\-dry\\-run" in page
    if formatter := shutil.which("groff"):
        done = subprocess.run([formatter, "-man", "-ww", "-Tascii", "-P-cbou"], input=page, text=True, capture_output=True, check=True)
        assert done.stderr == ""
        assert "EXIT STATUS" in done.stdout


def test_the_page_is_printed() -> None:
    """`man` prints it."""
    done = subprocess.run([sys.executable, "-m", "nexapod_batch.cli.reference"], capture_output=True, text=True, check=True)
    assert "### `man`" in done.stdout
    assert main(["man"]) == 0
