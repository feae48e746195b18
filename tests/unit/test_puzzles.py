"""What a registration costs where many come: work that is asked for, done once, and checked before any signature."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from joined_nodes import registration
from msgspec import json as msgjson

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.context import open_coordinator
from nexapod_batch.coordinator.nodes import joining
from nexapod_batch.errors import UsageError
from nexapod_batch.mesh import puzzle, signatures
from nexapod_batch.server.application import Application
from nexapod_batch.server.endpoints.nodes_channel import ROUTES
from nexapod_batch.server.names import Names
from nexapod_batch.server.puzzles import FREE, FREE_OF_ADDRESS, GOOD_S, LEAST_BITS, Puzzles
from nexapod_batch.server.service import Options, Service
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from pathlib import Path

KEY, HERE = "SHA256:" + "a" * 43, "198.51.100.7"


class Clock:
    """A time that the test sets."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


@pytest.mark.parametrize("bits", [0, 1, 7, 12])
def test_a_puzzle_is_solved_by_hashing(bits: int) -> None:
    """By the definition: so many zero bits before a SHA-256, and no smaller number has them."""
    number = puzzle.solve("challenge", bits, lambda _: None)
    found = [hashlib.sha256(b"challenge" + n.to_bytes(8, "big")).digest() for n in range(number + 1)]
    zero = [f"{int.from_bytes(digest, 'big'):0256b}".startswith("0" * bits) for digest in found]
    assert zero == [False] * number + [True]
    assert puzzle.is_solved("challenge", number, bits)


def test_no_coordinator_has_a_machine_work_for_ever() -> None:
    """More than the bound is refused before anything is tried."""
    with pytest.raises(UsageError, match="more work"):
        puzzle.solve("challenge", puzzle.MOST_BITS + 1, lambda _: None)


def test_few_pay_nothing_and_many_pay_more() -> None:
    """Each doubling costs twice as much, elsewhere nothing until there are many in all; after hours it is forgotten."""
    clock = Clock()
    puzzles = Puzzles(clock)
    seen = []
    for _ in range(4 * FREE_OF_ADDRESS + 1):
        seen.append(puzzles.bits(HERE))
        puzzles.count(HERE)
    assert seen[:FREE_OF_ADDRESS] == [0] * FREE_OF_ADDRESS
    assert seen[FREE_OF_ADDRESS :: FREE_OF_ADDRESS] == [LEAST_BITS, LEAST_BITS + 1, LEAST_BITS + 1, LEAST_BITS + 2]
    assert puzzles.bits("203.0.113.1") == 0
    for number in range(FREE):
        puzzles.count(f"203.0.113.{number}")
    assert puzzles.bits("192.0.2.1") == LEAST_BITS
    clock.now += 8 * 3600
    assert (puzzles.bits(HERE), puzzles.bits("192.0.2.1")) == (0, 0)


def test_an_answer_counts_once_in_time_and_for_who_asked() -> None:
    """Another key, another address, a changed challenge, another server, later, again, or no number: each is none."""
    clock = Clock()
    puzzles = Puzzles(clock)
    for _ in range(FREE_OF_ADDRESS):
        puzzles.count(HERE)
    challenge = puzzles.challenge(HERE, KEY)
    number = str(puzzle.solve(challenge, LEAST_BITS, lambda _: None))
    easier = challenge.replace(f".{LEAST_BITS}.", ".0.")
    wrong = {
        "another key": (challenge, number, HERE, KEY.replace("a", "b")),
        "another address": (challenge, number, "203.0.113.1", KEY),
        "made easier": (easier, "0", HERE, KEY),
        "nothing": ("", "", HERE, KEY),
        "junk": ("x.y.z", "1", HERE, KEY),
        "not ASCII": ("é.é.é", "1", HERE, KEY),
        "no number": (challenge, "x", HERE, KEY),
        "a huge number": (challenge, "9" * 5000, HERE, KEY),
        "the next number": (challenge, str(int(number) + 1), HERE, KEY),
    }
    assert [what for what, answer in wrong.items() if puzzles.is_answer(*answer)] == []
    assert not Puzzles(clock).is_answer(challenge, number, HERE, KEY)
    assert puzzles.is_answer(challenge, number, HERE, KEY)
    assert not puzzles.is_answer(challenge, number, HERE, KEY)
    old = puzzles.challenge(HERE, KEY)
    number = str(puzzle.solve(old, LEAST_BITS, lambda _: None))
    clock.now += GOOD_S + 1
    assert not puzzles.is_answer(old, number, HERE, KEY)


class Door:
    """A server's application, called without a network, from whatever address."""

    def __init__(self, home: Path, rate: float) -> None:
        """Make a home and its service."""
        self.paths = Paths.of(home)
        with open_coordinator(self.paths):
            pass
        self.service = Service(self.paths, Names(["localhost"]), Options(rate=rate))
        self._app = Application(self.service, ROUTES)

    async def register(self, name: str, address: str, answer: str = "", **changes: Any) -> tuple[int, dict[str, str], Any]:
        """Ask to join under a name; return status, headers and body of the answer."""
        signer = Signer.from_seed(hashlib.sha256(name.encode()).digest())
        body = msgjson.encode(registration(name, signer, **changes))
        nonce = hashlib.sha256(f"{name}{answer}".encode()).hexdigest()[:32]
        head = signatures.headers(signer, "POST", "localhost", "/v1/nodes", body, created=int(time.time()), nonce=nonce)
        head |= {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
        head |= {puzzle.ANSWER: answer} if answer else {}
        scope = {
            "type": "http", "method": "POST", "path": "/v1/nodes", "raw_path": b"/v1/nodes", "query_string": b"",
            "client": (address, 1), "server": ("localhost", 1), "scheme": "https", "http_version": "1.1",
            "headers": [(key.encode(), value.encode()) for key, value in head.items()],
        }  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)  # type: ignore[arg-type]
        found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
        return sent[0]["status"], found, json.loads(b"".join(part.get("body", b"") for part in sent[1:]))


def test_a_flood_from_one_address_costs_no_signatures(tmp_path: Path) -> None:
    """Of many one is verified and kept; what is remembered stays small, and others join as before."""
    door = Door(tmp_path / "home", 0.001)

    async def flood() -> tuple[list[int], int]:
        statuses = [(await door.register(f"n{number}", HERE))[0] for number in range(150)]
        checked = door.service.channel.verified
        elsewhere = await door.register("elsewhere", "203.0.113.9")
        statuses.append(elsewhere[0])
        return statuses, checked

    statuses, checked = asyncio.run(flood())
    with open_coordinator(door.paths, write=False) as c:
        waiting = joining.waiting(c)
    door.service.threads.close()
    assert statuses == [200, *[429] * 149, 200]
    assert (checked, len(waiting), len(door.service.by_address)) == (1, 2, 2)


def test_work_is_asked_for_before_a_signature_is_looked_at(tmp_path: Path) -> None:
    """Who comes after many others is given a puzzle and joins with its answer, once; a token needs none."""
    door = Door(tmp_path / "home", 10_000.0)
    for _ in range(2 * FREE_OF_ADDRESS):
        door.service.puzzles.count(HERE)

    async def join() -> list[tuple[int, int]]:
        status, headers, _ = await door.register("late", HERE)
        seen = [(status, door.service.channel.verified)]
        bits, _, challenge = headers[puzzle.CHALLENGE].partition(" ")
        number = puzzle.solve(challenge, int(bits), lambda _: None)
        for answer in (f"{challenge} {number + 1}", f"{challenge} {number}", f"{challenge} {number}"):
            status = (await door.register("late", HERE, answer))[0]
            seen.append((status, door.service.channel.verified))
        status = (await door.register("guest", HERE, token="nxp_" + "x" * 43))[0]
        seen.append((status, door.service.channel.verified))
        return seen

    seen = asyncio.run(join())
    door.service.threads.close()
    assert seen == [(429, 0), (429, 0), (200, 1), (429, 1), (403, 2)]
