"""The command `ledger`: its head, whether it holds together, proofs, a published copy, witnessing."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete, selectors
from nexapod_batch.cli.context import json_option, looking, reading, writing
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.coordinator import Coordinator

__all__ = ["ledger", "shown"]

#: Bytes of the largest file that is read as a head.
_MAX_HEAD = 64 * 1024
_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def ledger() -> None:
    """Prove what happened: signed heads, proofs, published copies."""


@ledger.command("head")
@click.option("--cosigned", is_flag=True, help="The newest that nodes signed for, with their signatures.")
@json_option
def head(cosigned: bool, as_json: bool) -> None:
    """Print the signed head of the ledger, and nothing else.

    Keep it, and give it to others: who has it can show later that nothing before it was changed or left out.
    """
    from nexapod_batch.coordinator.steps.heads import ledger_key
    from nexapod_batch.coordinator.verification import ledger as use_case
    from nexapod_batch.coordinator.verification import witnesses
    from nexapod_batch.ledger.checkpoint import head_of

    with looking() as c:
        seen = witnesses.newest(c) if cosigned else None
        signed = use_case.newest_head(c) if seen is None else seen.note
        key = str(ledger_key(c))
    said = head_of(signed)
    document = {
        "origin": said.origin, "size": said.size, "root": said.root.hex(), "key": key, "checkpoint": str(signed),
    }  # fmt: skip
    if seen is not None:
        document["witnesses"] = [str(one) for one in seen.witnesses]
    output(as_json).document(document, lambda _: str(signed).removesuffix("\n").split("\n"))


@ledger.command("verify")
@click.option("--since", "files", type=_FILE, multiple=True, help="A head that was kept: the ledger must continue it.")
@click.option("--witness", "witnesses", metavar="VKEY", multiple=True, help="Who must have signed these heads as well.")
@json_option
def verify(files: tuple[Path, ...], witnesses: tuple[str, ...], as_json: bool) -> int:
    """Work the whole tree out again and compare it.

    With the nodes and the signed heads that are kept, with heads that others kept, and with the database. What does
    not hold is named, and the exit code is 1.
    """
    from nexapod_batch.coordinator.verification import ledger as use_case
    from nexapod_batch.ledger.note import parse_key

    keys = [parse_key(witness) for witness in witnesses]
    if keys and not files:
        raise UsageError("--witness says who signed a head", wanted="--since FILE with that head")
    with looking() as c:
        found = use_case.verify(c, [use_case.since(c, _text(file), str(file), keys) for file in files])
    document = {
        "ok": found.ok, "size": found.size, "root": found.root.hex(), "heads": found.heads, "facts": found.facts,
        "faults": [{"place": fault.place, "fault": fault.what} for fault in found.faults],
    }  # fmt: skip
    output(as_json).document(document, _verified)
    if not found.ok:
        note("keep this database as it is: it is evidence. nexapod-batch db backup FILE copies it; go on with a backup")
    if found.ok:
        return 0
    return 1


def _verified(document: Document) -> Iterator[str]:
    for fault in document["faults"]:
        yield f"{fault['place']}: {fault['fault']}"
    looked = f"{document['size']} entries, {document['heads']} signed heads, {document['facts']} facts of the database"
    if document["ok"]:
        yield f"all holds: {looked}"
    else:
        yield f"{len(document['faults'])} faults: {looked} were looked at"


@ledger.command("prove")
@click.argument("selector", metavar="ID", shell_complete=complete.jobs)
@json_option
def prove(selector: str, as_json: bool) -> None:
    """Print the proof that something is in the ledger.

    Of a job that it was submitted, of a task its verdict, of a replica its report, or where it has none that it was
    placed.

    ID is 42, 42_7, 42_7.1, or @13 for entry 13.
    """
    from nexapod_batch.coordinator.verification import ledger as use_case
    from nexapod_batch.ledger.events import parse_event

    with looking() as c:
        entry = _entry(c, selector)
        proof = use_case.prove(c, entry)
    document = {"entry": entry, "event": dict(parse_event(proof.content)), "proof": str(proof)}
    output(as_json).document(document, lambda _: str(proof).removesuffix("\n").split("\n"))


def _entry(c: Coordinator, selector: str) -> int:
    """Return the number of the entry that a selector means."""
    from nexapod_batch.coordinator.verification.ledger import entry_of

    if re.fullmatch(r"@[0-9]{1,15}", selector):
        return int(selector[1:])
    if "." in selector:
        (job, task), number = selectors.replica_of(c.store, selector)
        return entry_of(c, job, task or 0, number or 0)
    job, task = selectors.resolve_one(c.store, selector)
    return entry_of(c, job, task)


@ledger.command("export")
@click.option("--tiles", "folder", type=_FOLDER, required=True, help="Where to.")
@json_option
def export(folder: Path, as_json: bool) -> None:
    """Publish the ledger as static files.

    As C2SP tlog-tiles has them; once more brings them up to date. Nothing is written where the folder has a head that
    this ledger does not continue.
    """
    from nexapod_batch.coordinator.verification import ledger as use_case
    from nexapod_batch.files import umask

    with looking() as c, umask.as_given():
        folder.mkdir(parents=True, exist_ok=True)
        said = use_case.export(c, folder)
    document = {"folder": str(folder), "size": said.size, "key": (folder / use_case.KEY_FILE).read_text().strip()}
    output(as_json).document(
        document, lambda _: [f"{said.size} entries in {folder}", f"their head is signed by {document['key']}"]
    )


@ledger.command("witness")
@click.argument("checkpoint", type=_FILE)
@click.option("--key", "text", metavar="VKEY", help="Whose heads these are; needed for a ledger that is new here.")
@click.option("--tiles", "folder", type=_FOLDER, help="Where that ledger is published.")
@click.option("--rotation", "rotation", type=_FILE, help="What key export --format rotation wrote there.")
@json_option
def witness(
    checkpoint: Path, text: str | None, folder: Path | None, rotation: Path | None, as_json: bool
) -> None:
    """Sign a head of somebody's ledger as a witness.

    Only if the ledger continues every head that was signed here before. That is worked out from its published tiles,
    which are looked for beside the head. The head is printed with all its signatures.
    """
    from nexapod_batch.coordinator.commands.witness import witness as use_case
    from nexapod_batch.ledger.note import Kind, NoteKey, parse_key

    with writing() as c:
        rotations = [] if rotation is None else [line.encode() for line in _text(rotation).splitlines()]
        key_given = None if text is None else parse_key(text)
        signed = use_case(c, _text(checkpoint), key_given, folder or checkpoint.parent, rotations)
        own = signed.signatures[-1].name
        key = str(NoteKey(own, c.signer.public, Kind.WITNESS))
    document = {"witness": own, "key": key, "checkpoint": str(signed)}
    output(as_json).document(document, lambda _: str(signed).removesuffix("\n").split("\n"))
    note(f"signed as witness {key}")


@ledger.command("log")
@click.argument("selector", metavar="[ID]", required=False, shell_complete=complete.jobs)
@click.option("--last", default=50, show_default=True, type=click.IntRange(min=1), help="How many, the newest last.")
@json_option
def log(selector: str | None, last: int, as_json: bool) -> None:
    """List what happened, of all or of a job or task."""
    from nexapod_batch.coordinator.queries.events import event_row, is_about
    from nexapod_batch.ledger.events import parse_event

    with reading() as store:
        size = store.ledger.size()
        if selector is None:
            first = max(0, size - last)
            found = list(enumerate(map(parse_event, store.ledger.entries(first, size)), first))
        else:
            target = str(selectors.resolve_one(store, selector))
            every = ((number, parse_event(entry)) for number, entry, _ in store.ledger.marked_entries())
            found = [one for one in every if is_about(one[1], target)][-last:]
    rows = [event_row(number, event) for number, event in found]
    output(as_json).rows("entries", rows, ["entry", "time", "what"], shown)


def shown(row: Document) -> Document:
    """Return an entry with its time as people read it."""
    at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(row["time"] / 1000))
    return {**row, "time": at}


def _text(file: Path) -> str:
    """Return the text of a head, or of a proof that ends with one; `-` is stdin."""
    from nexapod_batch.files import careful

    if str(file) == "-":
        return sys.stdin.read(_MAX_HEAD)
    try:
        return careful.read(file, _MAX_HEAD).decode()
    except UnicodeDecodeError as error:
        raise VerificationError(f"{file} is no signed head", got="bytes that are no text") from error
    except FileNotFoundError as error:
        hint = "nexapod-batch ledger head > FILE keeps one"
        raise VerificationError(f"there is no file {file}", hint=hint) from error
    except OSError as error:
        raise VerificationError(f"{file} is no signed head", got=error.strerror) from error
