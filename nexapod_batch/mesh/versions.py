"""Agents and coordinators of different versions: which of the two is the older one, and what to install. Pure."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from nexapod_batch import __version__
from nexapod_batch.errors import UsageError
from nexapod_batch.mesh.messages import PROTOCOL

__all__ = ["check", "check_body", "paused"]

_RELEASE_CHARACTERS = 40


class _Spoken(Struct):
    """What every version says of itself, whatever else it says."""

    protocol: int | None = None


def check(protocol: int | None, agent: str = "") -> None:
    """Say nothing of an agent that speaks as this coordinator does; `agent` is its User-Agent.

    Raises:
        UsageError: It speaks otherwise.

    """
    if protocol == PROTOCOL:
        return
    if protocol is None or protocol < PROTOCOL:
        hint = f"update the agent, on the node: pip install --upgrade 'nexapod-batch=={__version__}'"
    else:
        hint = "update the coordinator: pip install --upgrade 'nexapod-batch[server]'; until then the node waits, "
        hint += f"or goes back: pip install 'nexapod-batch=={__version__}'"
    name = "no protocol" if protocol is None else f"protocol {protocol}"
    raise UsageError(
        "agent and coordinator are of different versions", got=f"{name} ({_release(agent)})",
        wanted=f"protocol {PROTOCOL} (nexapod-batch/{__version__})", hint=hint,
    )  # fmt: skip


def check_body(body: bytes, agent: str) -> None:
    """Do as `check` for what an agent sent that cannot be read: one of another version may say it otherwise.

    Raises:
        UsageError: It is of another version.

    """
    try:
        spoken = msgspec.json.decode(body, type=_Spoken)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    check(spoken.protocol, agent)


def paused(error: UsageError) -> str:
    """Return why nothing can start on a node whose agent is of another version, behind the node's name."""
    return f"has an agent of another version than this coordinator, {error.got} for {error.wanted}: {error.hint}"


def _release(agent: str) -> str:
    """Return what an agent calls itself, as far as that can be shown."""
    shown = "".join(letter for letter in agent[:_RELEASE_CHARACTERS] if letter.isascii() and letter.isprintable())
    return shown or "it does not say which release"
