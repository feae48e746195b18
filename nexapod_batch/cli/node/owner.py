"""`node snooze` and `node set`: what the owner of a machine says of its node, without a coordinator."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.context import json_option, paths
from nexapod_batch.cli.rendering.render import Document, output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["change", "snooze"]


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete.nodes)
@click.argument("time_", metavar="[TIME|off]", required=False)
@click.option("--until", metavar="HH:MM", help="Until this time of the day, in place of TIME.")
@click.option("--gpu", metavar="GPU", help="Only this GPU: its number, or its UUID.")
@json_option
def snooze(name: str | None, time_: str | None, until: str | None, gpu: str | None, as_json: bool) -> None:
    """Let a node of this machine be quiet for a while.

    TIME is as in 2h or 90m; without one it is until you say off. Nothing starts meanwhile, and what runs is suspended.
    NAME may be left out where there is one node.
    """
    from nexapod_batch.local_nodes import owner_policy

    if time_ is None and _is_time(name) and not owner_policy.is_here(paths(), name or ""):
        name, time_ = None, name
    name = name or owner_policy.only(paths())

    if time_ is not None and until is not None:
        raise UsageError("how long?", wanted="one of: a duration as in 2h, --until 18:00, off, or nothing: until off")
    owned = owner_policy.find(paths(), name)
    device, called = ("", "") if gpu is None else owner_policy.device(owned, gpu)
    if time_ == "off":
        owner_policy.wake(owned, device)
    else:
        owner_policy.snooze(owned, _how_long(time_, until), device)
    why, end = owner_policy.paused(owned.spool, device, called)
    document: Document = {"node": name, "paused": why, "until": end}
    output(as_json).document(document | ({"gpu": device} if device else {}), _paused)


def _how_long(time_: str | None, until: str | None) -> float | None:
    """Return for how many seconds; None: until somebody says off."""
    from nexapod_batch.local_nodes import owner_policy

    if until is not None:
        return owner_policy.seconds_until(until, time.time())
    if time_ is None:
        return None
    return _seconds(time_)



@click.command("set")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete.nodes)
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1)
@json_option
def change(name: str | None, pairs: tuple[str, ...], as_json: bool) -> None:
    """Set what a node of this machine may use.

    NAME may be left out where there is one node.

    Keys are max_cpus, max_mem, free_cpus, free_mem, free_disk, hours, pause_while, idle_for, on_battery, gpu_busy,
    grace, nice, io and cpu; without any the limits are shown.
    """
    from nexapod_batch.local_nodes import owner_policy
    from nexapod_batch.spool import owner_settings

    if name is not None and "=" in name:
        pairs, name = (name, *pairs), None
    name = name or owner_policy.only(paths())
    owned = owner_policy.find(paths(), name)
    found = owner_policy.change(owned, pairs) if pairs else owner_settings.load(owned.spool)
    output(as_json).document({"node": name, "limits": owner_policy.limits_of(found)}, _limits)


def _is_time(text: str | None) -> bool:
    """Say whether a word says how long: what else it is, is the name of a node."""
    from nexapod_batch.schema.units import duration

    if text is None or text == "off":
        return text is not None
    try:
        duration(text)
    except ValueError:
        return False
    return True


def _seconds(text: str) -> float:
    from nexapod_batch.schema.units import duration

    try:
        return duration(text)
    except ValueError as error:
        raise UsageError(
            "not a duration", got=repr(text), wanted="90m, 2h, 1h30m or off; a bare number is minutes"
        ) from error


def _paused(document: Document) -> Iterator[str]:
    why = document["paused"]
    subject, colon = (f"node {document['node']}", ":" if "gpu" in document else "")
    may = "the GPU may be used" if colon else "may work"
    yield f"{subject}{colon} {why or may}"


def _limits(document: Document) -> Iterator[str]:
    limits = document["limits"]
    yield from (f"{key} = {value}" for key, value in limits.items())
    if not limits:
        yield f"node {document['node']} has no limits of its owner's"
