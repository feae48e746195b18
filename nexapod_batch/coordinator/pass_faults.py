"""What went wrong in one pass, as reasons, by what it is about; a site out of reach is told of once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import ConfigError, PluginFaultError, UnreachableError
from nexapod_batch.model.reason import Code, Reason, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.model.node import Node
    from nexapod_batch.store import Store

__all__ = ["Faults", "keep_faults", "site_key"]

#: Errors that keep a whole site away.
_OF_SITES = (UnreachableError, ConfigError, PluginFaultError)


def site_key(site: str) -> str:
    """Return the key of what keeps a whole site away."""
    return f"site:{site}"


class Faults:
    """The faults of one pass. What keeps a whole site away does so at every step: the first one counts."""

    def __init__(self) -> None:
        """Begin without any."""
        self._reasons: dict[str, Reason] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._reasons)

    def by_key(self) -> Mapping[str, Reason]:
        """Return the faults by their keys: what each is about stays the same from pass to pass."""
        return self._reasons

    def add(self, code: str, about: str = "", **parameters: object) -> None:
        """Note a fault of a kind; one of the same kind `about` the same gives way to it."""
        _, _, kind = code.partition(".")
        self._reasons[f"{kind}:{about}" if about else kind] = Reason(code=code, parameters=parameters)

    def of_site(self, site: str, reason: Reason) -> None:
        """Note what keeps a whole site away, unless something does already."""
        self._reasons.setdefault(site_key(site), reason)

    def of_node(self, code: str, node: Node, error: Exception) -> None:
        """Note that a step failed on a node, or on its whole site."""
        if isinstance(error, OSError) and site_key(node.site) in self._reasons:
            return  # its files are away with the rest of it
        known = Reason.of_error(error)
        if not isinstance(error, _OF_SITES):
            self.add(code, node.name, node=node.name, error=known)
        elif not self.knows(error):
            self.of_site(node.site, Reason(code=Code.SITE_FAULT, parameters={"site": node.site, "error": known}))

    def knows(self, error: Exception) -> bool:
        """Say whether some step failed with this very error before."""
        wanted = Reason.of_error(error)
        causes = [reason.parameters.get("error") for reason in self._reasons.values()]
        return any(isinstance(cause, Reason) and same(cause, wanted) for cause in causes)


def keep_faults(store: Store, faults: Faults, now: int) -> tuple[list[Reason], list[Reason]]:
    """Return the faults that are new, and those told before; forget those that are gone."""
    reasons, known = faults.by_key(), store.operations.faults()
    if not known and not reasons:
        return [], []
    with store.atomic():
        for key, reason in reasons.items():
            store.operations.keep_fault(key, reason.stored(), now)
        for key in known.keys() - reasons.keys():
            store.operations.drop_fault(key)
    new = [reason for key, reason in reasons.items() if key not in known]
    return new, [reason for key, reason in reasons.items() if key in known]
