"""`node unit`: a systemd user unit that keeps the worker of a node of this machine running."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from nexapod_batch import interpreter
from nexapod_batch.cli import complete
from nexapod_batch.cli.context import json_option, paths
from nexapod_batch.cli.rendering.render import Document, note, output
from nexapod_batch.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["text_of", "unit"]

#: The worker stops what runs, reports it and goes: commands get 5 s, the reports some more.
_STOP_S = 30


@click.command()
@click.argument("name", required=False, shell_complete=complete.nodes)
@click.option("--write", is_flag=True, help="Write it to ~/.config/systemd/user, and say what to do next.")
@json_option
def unit(name: str | None, write: bool, as_json: bool) -> None:
    """Print a systemd user unit that keeps a node working."""
    from nexapod_batch.local_nodes import node_status, owner_policy, unit_file
    from nexapod_batch.model.node import JOINED
    from nexapod_batch.spool import owner_settings

    home = paths()
    known = [one["name"] for one in node_status.status(home)] if name is None else [name]
    if not known:
        raise NotFoundError("no node of this machine", hint="nexapod-batch node init")
    if len(known) > 1:
        raise UsageError("of which node?", wanted=f"one of: {', '.join(known)}")
    owned = owner_policy.find(home, known[0])
    file = unit_file.name_of(owned.name)
    wishes = owner_settings.load(owned.spool)
    joined = [_program(), "node", "run", owned.name] if owned.settings["backend"] == JOINED else None
    text = text_of(owned.name, owned.spool, os.environ, on_mains=wishes.on_battery == "pause", joined=joined)
    document: Document = {"unit": file, "text": text, "written": None}
    document["next"] = ["systemctl --user daemon-reload", f"systemctl --user enable --now {file}"]
    if write:
        document["written"] = str(_written(file, document["text"]))
    output(as_json).document(document, _described)
    if write and not as_json:
        note("to let it work while you are not logged in: loginctl enable-linger")


def _program() -> str:
    """Return this program's absolute path."""
    return os.path.join(os.path.dirname(interpreter.own()), "nexapod-batch")


def text_of(
    name: str, spool: Path, environ: Mapping[str, str], *, on_mains: bool = False, joined: Sequence[str] | None = None
) -> str:
    """Return the unit of a node; the worker finds programs where this environment's PATH leads.

    `joined` is the command of a node that joined a coordinator elsewhere; its worker ends with it. With `on_mains` it
    is not started on battery; a worker that runs then pauses by itself.
    """
    from nexapod_batch.local_nodes.unit_file import MARK, quoted

    command = joined or interpreter.module("nexapod_batch.runner", str(spool), "--stay")
    path = environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    lines = [
        f"{MARK}{name} --write. Changes of your own: systemctl --user edit",
        "[Unit]",
        f"Description=nexapod-batch node {name}",
        *(["ConditionACPower=true"] if on_mains else []),
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart=:/usr/bin/env {' '.join(map(quoted, command))}",
        f"Environment={quoted(f'PATH={path}')}",
        *(f"Environment={quoted(f'{place}={environ[place]}')}" for place in ("NEXAPOD_HOME",) if environ.get(place)),
        f"WorkingDirectory={interpreter.FOLDER}",
        "# it ends when node.json changes, and while another worker of the node is at it",
        "Restart=always",
        "RestartSec=10",
        "KillMode=control-group" if joined else "KillMode=mixed",
        f"TimeoutStopSec={_STOP_S}",
        "# behind everything else that this account runs",
        "CPUWeight=1",
        "IOWeight=1",
        "OOMScoreAdjust=500",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def _written(name: str, content: str) -> Path:
    from nexapod_batch.files import atomic
    from nexapod_batch.files.own import own_folder
    from nexapod_batch.local_nodes import unit_file

    target = unit_file.folder() / name
    own_folder(target.parent)
    atomic.write(target, content.encode())
    return target


def _described(document: Document) -> Iterator[str]:
    if document["written"] is None:
        yield from document["text"].splitlines()
        return
    yield f"written: {document['written']}"
    yield from (f"next:    {command}" for command in document["next"])
