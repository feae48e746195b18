"""What a thief of keys could do: the keys of launches, as the coordinator keeps them, and report lines by any key."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from nexapod_batch.trust.dsse import Signer, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Statement
from nexapod_batch.trust.statement_decoder import decode
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    from homes import Home

__all__ = ["line_of", "said_in", "stolen_key"]


def stolen_key(home: Home, replica: str) -> Signer:
    """Return the key of the launch of a replica (`1_0.1`), which no pass has seen claimed yet."""
    task, _, number = replica.partition("_")[2].partition(".")
    sql = (
        "SELECT d.seed FROM delegation d JOIN replica r ON r.launch_id = d.launch_id"
        " WHERE r.job_id = ? AND r.task = ? AND r.number = ?"
    )
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        (seed,) = connection.execute(sql, (replica.partition("_")[0], task, number)).fetchone()
    return Signer.from_seed(seed)


def line_of(signer: Signer, said: Statement | bytes) -> bytes:
    """Return the report line, without newline, by which a key says this."""
    payload = said if isinstance(said, bytes) else encode(said)
    line: dict[str, Any] = json.loads(seal(signer, PAYLOAD_TYPE, payload))
    return json.dumps({**line, "key": base64.b64encode(signer.public).decode()}).encode()


def said_in(line: dict[str, Any]) -> Statement:
    """Return what a report line says."""
    return decode(base64.b64decode(line["payload"]))
