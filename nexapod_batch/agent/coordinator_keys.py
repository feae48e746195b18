"""The coordinator's keys, as a node knows them: the one that it joined with, and what took its place, in `keys.json`.

The coordinator is asked where it signed with a key that is unknown here, and now and then. A key that the trusted one
did not sign for is never believed, whoever shows it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec import DecodeError
from msgspec import json as msgjson

from nexapod_batch import log
from nexapod_batch.agent.client import RefusedError
from nexapod_batch.errors import NexapodError, UnreachableError
from nexapod_batch.files import atomic, careful
from nexapod_batch.mesh.key_chain import KeyChain, followed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexapod_batch.agent.client import Reply
    from nexapod_batch.mesh.key_chain import TrustedKeys

__all__ = ["CoordinatorKeys"]

_PATH = "/v1/ledger/keys"
_MAX = 4 << 20


class CoordinatorKeys:
    """The keys of one coordinator, for several threads."""

    def __init__(self, file: Path, joined: bytes) -> None:
        """Go on from what was known before; `joined` is the key that the node joined with."""
        self._file, self._lock = file, threading.Lock()
        self.trusted: TrustedKeys = followed(KeyChain(key=joined.hex()), joined)
        try:
            self.trusted = followed(msgjson.decode(careful.read(file, _MAX), type=KeyChain), joined)
        except FileNotFoundError:
            return
        except (OSError, DecodeError, NexapodError) as error:  # it is fetched again
            log.warning(__name__, "the coordinator's keys cannot be read", file=str(file), why=str(error))

    def follow(self, ask: Callable[[str, str], Reply], tell: Callable[[TrustedKeys], None]) -> None:
        """Ask the coordinator for its keys, by method and path; `tell` of others, before anybody here trusts them.

        Raises:
            VerificationError: The newest key that is known here does not lead to what it shows.
            RefusedError: The coordinator refused.
            UnreachableError: It is not there, or its answer is none.

        """
        reply = ask("GET", _PATH)
        if reply.status == 404:  # it is older, and its keys cannot be followed
            return
        if reply.status != 200:
            raise RefusedError(reply)
        try:
            chain = msgjson.decode(reply.body, type=KeyChain)
        except DecodeError as error:
            raise UnreachableError("the coordinator's answer makes no sense", got=str(error)[:200]) from error
        with self._lock:
            trusted = followed(chain, self.trusted.current)
            if trusted == self.trusted:
                return
            tell(trusted)
            atomic.write(self._file, msgjson.encode(chain), mode=0o600)
            self.trusted = trusted
