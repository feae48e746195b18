"""When two sentences say the same of two things: of two Slurm jobs, two launches, the same job a minute later."""

from __future__ import annotations

import re

__all__ = ["pattern"]

#: What differs between them: when something is to start, numbers, and ids that have some. Compiled by the first use.
_OWN = r"; start estimated for [-0-9]+ [0-9:]+|[0-9a-f]*[0-9][0-9a-f_.:]*"


def pattern(text: str) -> str:
    """Return what is left of a sentence without numbers, ids and estimates: equal for sentences that are alike."""
    return re.sub(_OWN, "#", text)
