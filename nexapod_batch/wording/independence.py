"""How independent those are who agree, in the few words that a badge has room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.reason_codes import Code

if TYPE_CHECKING:
    from nexapod_batch.model.reason import Reason

__all__ = ["in_few_words", "is_independent"]


def in_few_words(reason: Reason) -> str:
    """Return it: `2 sites`. Of sites and owners that one account runs only the machines count: labels are no witnesses.

    Raises:
        KeyError: The reason lacks what its code promises.

    """
    values = reason.parameters
    match reason.code:
        case Code.FROM_SITES if values.get("run_by_one"):
            return f"{values['sites']} sites of one account"
        case Code.FROM_SITES:
            return f"{values['sites']} sites"
        case Code.FROM_OWNERS if not values.get("run_by_one"):
            return f"{values['owners']} owners"
        case Code.FROM_OWNERS | Code.FROM_MACHINES:
            return f"{values['machines']} machines"
        case Code.FROM_ONE_MACHINE:
            return "one machine"
        case _:
            return "not repeated"


def is_independent(reason: Reason) -> bool:
    """Say whether more than one machine agreed."""
    return reason.code in {Code.FROM_SITES, Code.FROM_OWNERS, Code.FROM_MACHINES}
