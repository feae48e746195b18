"""What the runners of a node that joined are told of fetching inputs, where its owner lets it fetch them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nexapod_batch.entry_points import targets
from nexapod_batch.sources import NETWORK_VARIABLES

if TYPE_CHECKING:
    from nexapod_batch.agent.home import AgentHome, AgentSettings
    from nexapod_batch.config.settings import SourceLimits

__all__ = ["told_of_fetching"]


def told_of_fetching(home: AgentHome, settings: AgentSettings, allowed: SourceLimits) -> dict[str, object] | None:
    """Return `fetching` of `node.json`; None where everything is brought.

    What is fetched a stranger chose: never with a login of this account, and from private addresses only where the
    owner's own settings allow them. Proxies and authorities are those of this process.

    Args:
        home: Where the node is kept.
        settings: What its owner said when it joined.
        allowed: `[sources]` of this account.

    """
    if settings.fetch == "here":
        return None
    return {
        "folder": str(home.fetched),
        "cache_mib": settings.fetch_cache_mib,
        "max_mib": allowed.max_mib,
        "proxy": settings.fetch_proxy,
        "private_hosts": list(allowed.private_hosts),
        "gateways": list(allowed.gateways),
        "logins": False,
        "env": {name: value for name, value in os.environ.items() if name.lower() in NETWORK_VARIABLES},
        "sources": targets("source"),
    }
