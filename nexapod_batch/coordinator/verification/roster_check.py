"""Whether a roster that a reader has names the coordinator of a folder or an archive that was checked."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import UsageError
from nexapod_batch.files import careful
from nexapod_batch.ledger import roster as rosters
from nexapod_batch.ledger.note import parse_key
from nexapod_batch.trust.keys import key_id

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["with_roster"]

_COORDINATOR = "the coordinator"


def with_roster(document: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return the document of a verification with one check more: that a roster names the coordinator's key.

    Keys that the coordinator vouches for are attributed to it then.

    Raises:
        UsageError: The roster cannot be read.
        VerificationError: Too few signed it, or it has expired.

    """
    try:
        data = careful.read(os.path.realpath(file), rosters.MAX_ROSTER)
    except OSError as error:
        raise UsageError(f"{file} cannot be read", got=error.strerror, wanted="a roster") from error
    found = rosters.checked(data, None, datetime.fromtimestamp(time.time(), UTC))
    named = {key_id(parse_key(text).public) for text in found.anchors.coordinators}
    own = [row["key"] for row in document["keys"] if row["node"] == _COORDINATOR]
    is_named = any(key in named for key in own)
    problem = "" if is_named else f"it names no key of this coordinator: {', '.join(own) or 'none was found'}"
    text = f"version {found.version}, signed by {len(found.signed_by)} of {len(found.members)} members"
    check = {"check": "roster", "of": str(file), "ok": is_named, "problem": problem, "text": text}
    keys = [_attributed(row, named, str(file)) for row in document["keys"]] if is_named else document["keys"]
    return {**document, "ok": document["ok"] and is_named, "keys": keys, "checks": [*document["checks"], check]}


def _attributed(row: dict[str, Any], named: set[str], file: str) -> dict[str, Any]:
    """Return a key with who vouches for it, where nobody did until now."""
    if not row["from"].startswith("unattributed"):
        return row
    if row["key"] in named:
        return {**row, "from": f"named by the roster {file}"}
    return {**row, "from": "as the coordinator has it"}
