"""What a node takes from its coordinator: the long poll, and what its messages ask for.

A message is acknowledged with the next poll, when it is durable here.
"""

from __future__ import annotations

import os
import random
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.agent.bringing import Taken
from nexapod_batch.agent.link import LEAST_S, text_of
from nexapod_batch.errors import NexapodError, VerificationError
from nexapod_batch.mesh import live_logs
from nexapod_batch.mesh.messages import WorkCall

if TYPE_CHECKING:
    from nexapod_batch.agent.bringing import Bringing
    from nexapod_batch.agent.client import Client
    from nexapod_batch.agent.link import Link
    from nexapod_batch.agent.outgoing import Outgoing
    from nexapod_batch.agent.sending import Sending
    from nexapod_batch.agent.worker import AgentWorker
    from nexapod_batch.mesh.messages import Answer, Bundle, Message

__all__ = ["POLL_S", "Taking"]

#: Seconds for which a poll waits at the coordinator.
POLL_S = 25.0


class _Became(NamedTuple):
    """What became of the messages of one answer."""

    acknowledged: tuple[str, ...]  # names of those that are durable here
    signed: dict[str, str]  # launches among them, with what was signed for their keys
    refused: dict[str, str]  # launches that are never run here, and why


class Taking:
    """Takes messages, for one thread with a client of its own."""

    def __init__(
        self, link: Link, worker: AgentWorker, outgoing: Outgoing, sending: Sending, bringing: Bringing
    ) -> None:
        """Take nothing yet."""
        self._link, self._worker, self._outgoing = link, worker, outgoing
        self._sending, self._bringing = sending, bringing

    def run(self) -> None:
        """Poll until the node is to stop."""
        client, stop = self._link.client(), self._link.stop
        taken = _Became((), {}, {})
        poll, failed_s = os.urandom(16).hex(), 0.0
        while not stop.is_set():
            try:
                answer = self._polled(client, poll, taken)
                taken = self._take(client, answer)
            except (NexapodError, OSError) as error:  # the same poll again: what was answered is answered again
                failed_s = wait_s = self._link.failed(error, failed_s)
            else:
                failed_s = 0.0
                self._link.connected(answer.why)
                poll, wait_s = os.urandom(16).hex(), answer.again_s
                if answer.messages and not (taken.acknowledged or taken.refused):  # nothing could be used now
                    wait_s = LEAST_S
            stop.wait(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        client.close()

    def _polled(self, client: Client, poll: str, taken: _Became) -> Answer:
        """Return the answer to a poll, which tells what became of the messages of the one before."""
        link = self._link
        call = link.news(
            link.leader.epoch, poll=poll, acknowledged=taken.acknowledged, delegations=taken.signed,
            refused=taken.refused, paused=link.paused, wait_s=POLL_S, busy=self._bringing.messages,
        )  # fmt: skip
        answer = link.call(client, call, patience_s=POLL_S)
        self._outgoing.heard(taken.signed)
        self._outgoing.tell_again(taken.signed)
        return answer

    def _take(self, client: Client, answer: Answer) -> _Became:
        """Act on messages; return what became of them."""
        acknowledged, signed, refused = [], dict[str, str](), dict[str, str]()
        for message in answer.messages:
            try:
                signature = self._act(client, message)
            except (NexapodError, OSError) as error:
                if message.bundle is None:
                    self._link.state.trouble = text_of(error)
                elif why := self._link.declines(error):
                    refused[message.bundle.launch] = why
                continue
            if message.bundle is not None:
                if not signature:  # it waits for its inputs
                    continue
                signed[message.bundle.launch] = signature
            acknowledged.append(message.name)
        return _Became(tuple(acknowledged), signed, refused)

    def _act(self, client: Client, message: Message) -> str:
        """Do what a message asks for; return the node's signature where it is a launch that the worker has now."""
        worker = self._worker
        if message.bundle is not None:
            return self._take_launch(client, message.name, message.bundle)
        if message.cancel:
            self._bringing.cancel(message.cancel)
        self._bringing.forget(message.forget)
        worker.expire(message.expire)
        worker.remove(message.remove)
        worker.discard(message.discard, self._link.witness.covered_until)
        if message.follow is not None:
            pieces = live_logs.read_pieces(self._link.home.work, message.follow)
            if pieces:
                call = WorkCall(poll=os.urandom(16).hex(), epoch=self._link.leader.epoch, logs=pieces)
                self._link.call(client, call)
        if message.wanted is not None:
            self._sending.put(message.name, message.wanted)
        return ""

    def _take_launch(self, client: Client, message: str, bundle: Bundle) -> str:
        """Check a launch, and have it given to the worker; return the node's signature for its key when it has it.

        Raises:
            VerificationError: It is not to be run here.

        """
        if self._link.witness.trouble:
            raise VerificationError(self._link.witness.trouble)
        opened, signature = self._worker.check(bundle, partial(self._worker.follow_keys, client))
        return signature if self._bringing.put(Taken(message, bundle, opened, signature)) else ""
