"""What the runners of a node are told: what they may use, which coordinator they trust, which folders are private."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.config.settings import SYSTEM_DIR
from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.context import LAUNCHER
from nexapod_batch.coordinator.fetching_nodes import fetch_folder
from nexapod_batch.errors import ConfigError, NexapodError, PluginFaultError
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Code

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePath

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.site import Site

__all__ = ["prepare", "settings_of"]


def prepare(c: Coordinator, nodes: Sequence[Node], faults: Faults) -> set[int]:
    """Let the backends make the nodes' folders and settings, which may have gone or be out of date.

    Return the ids of those where that takes a person: what is placed there would wait for nothing.
    """
    unusable = set()
    for node in nodes:
        try:
            c.backend(node).prepare(c.context(node), settings_of(c, node))
        except (NexapodError, OSError) as error:
            faults.of_node(Code.SETTINGS_FAULT, node, error)
            if isinstance(error, ConfigError | PluginFaultError):
                unusable.add(node.id)
    return unusable


def settings_of(c: Coordinator, node: Node) -> dict[str, object]:
    """Return what the node's runners are told: what they may use, and which coordinator they trust."""
    trusted = own_key.trusted(c.store, c.signer)
    return {
        "schema": 1,
        "name": node.name,
        "keys": [key.key_id for key in c.store.nodes.keys(node.id)] or [node.key_id],
        "coordinators": list(trusted),
        "coordinator_keys": {key: public.hex() for key, public in trusted.items()},
        "host": node.host,
        "cpus": node.cpus,
        "mem_mib": node.mem_mib,
        "backend": node.backend,
        "classes": dict(node.classes),
        "private": [str(one) for one in _private(c)],
        **({"launcher": list(LAUNCHER), "submit_path": True} if node.site == LOCAL else {}),
        **_of_site(c, node),
    }


def _of_site(c: Coordinator, node: Node) -> dict[str, object]:
    """Return what the site file says of GPUs and containers; without a file nothing: the node's own word stays."""
    site = c.sites().get(node.site)
    if site is None:
        return {}
    container = {"program": site.container.runtime, "binds": list(site.container.bind)}
    limits = {"gpu_slots": site.limits.gpu_slots, "container": container, "confine": site.runner.confine}
    folder = fetch_folder(c, node)
    if not folder:
        return limits
    return {**limits, "fetching": _fetching(c, site, folder)}


def _fetching(c: Coordinator, site: Site, folder: str) -> dict[str, object]:
    """Return how the nodes of a site fetch inputs: by its environment, and within what this account allows."""
    from nexapod_batch.config.settings import settings  # noqa: PLC0415 - at few sites
    from nexapod_batch.entry_points import targets  # noqa: PLC0415

    allowed = settings(c.paths).sources
    return {
        "folder": folder,
        "cache_mib": site.fetch_cache_mib,
        "max_mib": allowed.max_mib,
        "proxy": site.fetch_proxy if site.fetch == "proxy" else "",
        "private_hosts": list(allowed.private_hosts),
        "gateways": list(allowed.gateways),
        "env": dict(site.environment.env),
        "sources": targets("source"),
    }


def _private(c: Coordinator) -> list[PurePath]:
    """Return every folder of ours, which no confined command sees: home, results, settings, corners on sites."""
    own_config = [folder for folder in c.paths.config_dirs if folder != SYSTEM_DIR]
    mine = [c.paths.home, c.paths.results, *own_config]
    corners = [corner for site in c.sites().values() if site.filesystem.work_dir for corner in c.corners(site)]
    return list(dict.fromkeys([*mine, *corners]))
