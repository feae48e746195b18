"""What holds for every node that joined from elsewhere: its site, of which there is no file. Pure."""

from __future__ import annotations

from nexapod_batch.model.node import JOINED
from nexapod_batch.model.site import Limits, Scheduler, Site

__all__ = ["MAX_QUEUED", "is_joined_site", "joined_site", "site_name"]

#: Replicas that may be out at once on a node that joined.
MAX_QUEUED = 1_000
#: What the site of a node that joined begins with: no file can have such a name.
_MARK = "~"


def site_name(node: str) -> str:
    """Return the name of the site that a node which joined is for itself."""
    return _MARK + node


def is_joined_site(name: str) -> bool:
    """Say whether a site is that of a node that joined."""
    return name.startswith(_MARK)


def joined_site(name: str) -> Site:
    """Return what stands in for the file of such a site."""
    return Site(name=name, scheduler=Scheduler(type=JOINED), limits=Limits(max_queued=MAX_QUEUED))
