"""Keys that lie in ssh-agent: the key file holds the public half, and the agent signs.

The agent's word is not taken for it: each signature is verified before it is handed on. A connection belongs to the
process that opened it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nacl.bindings.crypto_sign import crypto_sign_open
from nacl.exceptions import BadSignatureError

from nexapod_batch.errors import KeyFileError
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.keys import KEY_BYTES, key_id, parse_openssh_public, wire

if TYPE_CHECKING:
    from paramiko.agent import Agent, AgentKey  # type: ignore[import-untyped]

__all__ = ["AgentSigner", "in_agent"]

#: Seconds that an agent may take for an answer: it may ask a person.
_PATIENCE_S = 60.0
_SIGNATURE_BYTES = 64


class AgentSigner(Signer):
    """An Ed25519 key in ssh-agent, which is asked when something is signed first."""

    __slots__ = ("_key", "_pid")

    def __init__(self, public: bytes) -> None:
        """Take the raw public key; no agent is asked yet."""
        super().__init__(public, b"")
        self._key: AgentKey | None = None
        self._pid = 0

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message.

        Raises:
            KeyFileError: No agent answers, it does not have the key, or it does not sign.

        """
        from paramiko import Message, SSHException  # type: ignore[import-untyped] # noqa: PLC0415 - most keys are files

        if self._key is None or self._pid != os.getpid():
            self._key, self._pid = self._found(), os.getpid()
        try:
            answer = Message(self._key.sign_ssh_data(message))
            answer.get_binary()  # ssh-ed25519
            signature = bytes(answer.get_binary())
            if len(signature) != _SIGNATURE_BYTES:
                raise BadSignatureError
            crypto_sign_open(signature + message, self.public)
        except (SSHException, OSError, BadSignatureError) as error:
            self._key.agent.close()
            self._key = None
            got = str(error) or "another signature"
            raise _refused(f"ssh-agent did not sign with key {self.key_id}", got=got) from error
        return signature

    def __del__(self) -> None:
        """Close the connection to the agent."""
        if self._key is not None:
            self._key.agent.close()

    def _found(self) -> AgentKey:
        wanted, agent = wire(self.public), _agent()
        for key in agent.get_keys():
            if key.asbytes() == wanted:
                return key
        agent.close()
        raise _refused(f"ssh-agent does not have key {self.key_id}", got="other keys, or none")


def in_agent(name: str) -> AgentSigner:
    """Return a key that an agent has, by its fingerprint, its comment, or the line of its `.pub` file.

    Raises:
        KeyFileError: No agent answers, or it has no such Ed25519 key.

    """
    known, prefix, agent = {}, wire(bytes(KEY_BYTES))[:-KEY_BYTES], _agent()
    for key in agent.get_keys():
        blob = key.asbytes()
        if blob.startswith(prefix):
            known[blob[-KEY_BYTES:]] = str(key.comment)
    agent.close()
    wanted = parse_openssh_public(name) if name.startswith("ssh-ed25519 ") else None
    found = [public for public, comment in known.items() if public == wanted or name in {key_id(public), comment}]
    if len(found) != 1:
        shown = ", ".join([f"{key_id(public)} ({comment})" for public, comment in known.items()]) or "none"
        raise _refused(f"ssh-agent has no Ed25519 key {name[:80]!r}", got=shown)
    return AgentSigner(found[0])


def _agent() -> Agent:
    from paramiko import SSHException  # noqa: PLC0415 - most keys are files
    from paramiko.agent import Agent  # noqa: PLC0415

    try:
        agent = Agent()
    except (SSHException, OSError) as error:
        raise _refused("ssh-agent does not answer", got=str(error)) from error
    if agent._conn is None:  # noqa: SLF001 - it has no other way to tell
        raise _refused("ssh-agent does not answer", got=f"SSH_AUTH_SOCK={os.environ.get('SSH_AUTH_SOCK', '')}")
    agent._conn.settimeout(_PATIENCE_S)  # noqa: SLF001 - nor a limit of its own
    return agent


def _refused(what: str, got: str) -> KeyFileError:
    hint = "ssh-add FILE, in the session whose agent SSH_AUTH_SOCK names; a timer needs that variable as well"
    return KeyFileError(what, got=got, hint=hint)
