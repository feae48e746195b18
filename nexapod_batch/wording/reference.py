"""The reference of reasons, made from their codes: `python -m nexapod_batch.wording.reference > FILE`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nexapod_batch.wording.meanings import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reference"]

_HEAD = """\
# Reasons

<!-- Made by `python -m nexapod_batch.wording.reference`; change nexapod_batch/wording/meanings.py instead. -->

Why a task, replica or launch is as it is has a code and parameters. The database keeps them, and `--json` prints them
beside the sentence that people see:

```json
{
  "reason": "2 of 2 agree, from 2 sites",
  "why": {
    "code": "quorum.accepted",
    "parameters": {
      "winners": 2,
      "votes": 2,
      "independence": {"code": "independence.sites", "parameters": {"sites": 2, "owners": 1}}
    }
  }
}
```

Programs should look at `why.code`: codes are never renamed, while sentences may be put better. A parameter may be a
reason again. Where a reason has the parameter `also`, that reason adds to it. Parameters that would say nothing are
left out. `why` is `null` where there is no reason.

Codes of backends begin with a word of theirs, as in `slurm.waits`, and bring their sentence as the parameter `text`.
What a scheduler itself calls a launch stands beside it, in its own words: `native.id`, `native.state` and
`native.reason` of a replica, as in `"7_3"`, `"PENDING"`, `"Priority"`.

| code | what it means |
|---|---|
"""


def reference() -> str:
    """Return the page."""
    return _HEAD + "".join(_rows())


def _rows() -> Iterator[str]:
    for code, meaning in MEANINGS.items():
        yield f"| `{code}` | {meaning} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
