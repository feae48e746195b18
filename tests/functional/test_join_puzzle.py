"""Joining where many others ask: a real server gives a puzzle, and the agent does the work and is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joined_nodes import registration
from msgspec import json as msgjson
from servers import running

from nexapod_batch.agent.client import Client, RefusedError
from nexapod_batch.agent.joining import Wish, join
from nexapod_batch.mesh import puzzle
from nexapod_batch.server.puzzles import FREE_OF_ADDRESS
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from pathlib import Path


def test_an_agent_does_the_work_that_many_others_cost(tmp_path: Path) -> None:
    """It says what it does, and waits to be approved like any other."""
    told: list[str] = []
    with running(tmp_path / "c", "--rate", "10000") as server:
        pin = server.join.split()[server.join.split().index("--fingerprint") + 1]
        signer = Signer.from_seed(b"m" * 32)
        client, body = Client(server.url, pin, signer), msgjson.encode(registration("many", signer))
        refused = {}
        for _ in range(4 * FREE_OF_ADDRESS):
            try:
                client.post("/v1/nodes", body)
            except RefusedError as error:
                refused = error.headers
                break
        client.close()
        _, joined = join(tmp_path / "agent", server.url, pin, Wish(name="late"), told.append)
    assert (puzzle.CHALLENGE in refused, joined.state, joined.code != "") == (True, "pending", True)
    assert told[0].startswith("many nodes ask to join: solving a puzzle")
