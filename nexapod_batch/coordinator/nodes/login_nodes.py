"""Login nodes, on which no job runs unasked: how this machine is known to be one."""

from __future__ import annotations

import socket
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from nexapod_batch.entry_points import load, names
from nexapod_batch.errors import ConfigError, PluginError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["cluster", "names_host", "refuse_login_node"]


def refuse_login_node(c: Coordinator) -> None:
    """Raise ConfigError where nobody asked for a node on a login node, with what keeps site files from making any."""
    if why := _login_node(c):
        raise ConfigError(
            f"no node is registered, and {why}: jobs must not run on a login node unasked",
            problems=tuple(Problem("", line) for line in c.site_faults().values()),
            hint=f"register the cluster: nexapod-batch site init{_from_backend()}; "
            "or make a node here all the same: nexapod-batch node init",
        )


def _login_node(c: Coordinator) -> str:
    """Return why this machine looks like a login node, or nothing."""
    if why := cluster():
        return why
    host = socket.gethostname()
    for site in c.sites().values():
        if any(names_host(pattern, host) for pattern in site.hostnames):
            return f"this machine's name {host} belongs to site {site.name}"
    return ""


def names_host(pattern: str, host: str) -> bool:
    """Say whether a pattern means a machine, which may know itself by the first part of its name alone."""
    pattern, host = pattern.lower(), host.lower()
    if fnmatchcase(host, pattern):
        return True
    if "." in host:
        return fnmatchcase(host.partition(".")[0], pattern)
    first = pattern.partition(".")[0]
    return first.strip("*?") != "" and fnmatchcase(host, first)


def cluster() -> str:
    """Return in words why this machine looks like one of a cluster, or nothing."""
    return next((why for _, why in _signs()), "")


def _from_backend() -> str:
    """Return the option by which the cluster that this machine belongs to describes itself, or nothing."""
    return next((f" --from-{backend}" for backend, _ in _signs()), "")


def _signs() -> Iterator[tuple[str, str]]:
    """Yield the backends whose cluster this machine seems to belong to, and why."""
    for name in names("login_node"):
        with suppress(PluginError):  # a package that is broken says nothing of this machine
            why = load("login_node", name)
            if isinstance(why, str) and why:
                yield name, why
