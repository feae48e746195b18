"""Why something is as it is, as data: a code and its parameters. `wording` makes sentences of them.

A reason is stored as JSON, `{"code": "quorum.accepted", "parameters": {...}}`, and `--json` prints the same object.
Parameters are JSON values, or reasons again. Two reasons are the same if `same` says so: it compares what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations of what it decodes
from enum import StrEnum
from typing import Any, Self

import msgspec
from msgspec import Struct, field

__all__ = ["Code", "Reason", "same"]


class Code(StrEnum):
    """Every code that this program writes. Codes are never renamed: databases and scripts hold them."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Make a member that knows what it means, in one line."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    IMPORTED = "imported", "a sentence from a database of a version that kept no codes"
    TEXT = "text", "what somebody else wrote: a program, a plug-in, the system"

    ACCEPTED = "quorum.accepted", "enough distinct domains agree, and nothing that is out can change that"
    FAILED_ALIKE = "quorum.failed_alike", "enough distinct domains failed in the same way"
    TOO_MANY_ERRORS = "quorum.too_many_errors", "more replicas failed than max_errors allows"
    TOO_MANY_LOST = "quorum.too_many_lost", "more replicas were lost than max_lost allows"
    NO_DOMAIN_LEFT = "quorum.no_domain_left", "another replica is needed, and no node with unused domains is left"
    USED_UP = "quorum.used_up", "another replica is needed, and max_replicas is used up"
    UNDECIDED = "quorum.undecided", "replicas are out, or wanted"
    TIE = "quorum.tie", "two groups are equally large; part of another reason"
    TOO_FEW_AGREE = "quorum.too_few_agree", "no group of answers is large enough; part of another reason"
    DOUBTED = "quorum.doubted", "winners signed two different statements since, and too few are left"

    FROM_SITES = "independence.sites", "the winners ran on several sites"
    FROM_OWNERS = "independence.owners", "the winners ran on machines of several owners, on one site"
    FROM_MACHINES = "independence.machines", "the winners ran on several machines of one site and owner"
    FROM_ONE_MACHINE = "independence.one_machine", "the winners ran on one machine: reproducible there, not independent"
    UNREPEATED = "independence.unrepeated", "there is one winner: nobody repeated it"

    OTHER_CLASS = "vote.other_class", "a report without a vote: its numeric class is not the task's"
    TOO_LITTLE_ISOLATION = "vote.isolation", "a report without a vote: less isolation than the job asks for"
    HOST_UNCONFIRMED = "vote.host_unconfirmed", "a report without a vote: the scheduler does not confirm its host"

    NODES_FULL = "placement.nodes_full", "every node that could take the replica is full"
    NODES_PAUSED = "placement.nodes_paused", "the owners of the nodes that could take the replica let nothing start"
    NO_NODE_LEFT = "placement.no_node_left", "no node will ever take the replica, and what keeps the first of them"
    NO_NODES = "placement.no_nodes", "no node is registered"

    SWITCHED_OFF = "node.switched_off", "the node is drained"
    CLASS_UNKNOWN = "node.class_unknown", "the profile of the node does not say its numeric class"
    OTHER_TIER = "node.other_tier", "the node has another tier than the job asks for"
    SINGLE_MACHINE = "node.single_machine", "the node is one machine, and the job asks for several"
    TOO_SMALL = "node.too_small", "the node has too few CPUs or GPUs, or too little memory"
    OTHER_GPU_TYPE = "node.other_gpu_type", "the node has no GPU of the type that the job asks for"
    SMALL_GPU_MEMORY = "node.small_gpu_memory", "the GPUs of the node have too little memory"
    NODE_OF_OTHER_CLASS = "node.other_class", "the node has another numeric class than the task"
    DOMAIN_USED = "node.domain_used", "another replica of the task was placed on the same node, host, site or owner"
    NODE_FULL = "node.full", "as many replicas as max_queued allows are out on the node"

    NO_ACTIVE_NODE = "reach.no_active_node", "no node is registered, or all are drained"
    NO_NODE_OF_TIER = "reach.no_node_of_tier", "no node has the tier that the job asks for"
    NO_NODE_LARGE_ENOUGH = "reach.no_node_large_enough", "no node has enough of a resource"
    NO_NODE_HAS_ALL = "reach.no_node_has_all", "each resource is there, and no single node has all of them"
    RESOURCE_TOO_LARGE = "reach.resource_too_large", "a resource, and the node with most of it; part of another reason"
    NO_SUCH_GPU_TYPE = "reach.no_such_gpu_type", "the type of GPU, and the types that there are; part of another reason"
    TOO_FEW_DOMAINS = "reach.too_few_domains", "fewer distinct domains in reach than quorum.agree"
    FEW_DOMAINS = "reach.few_domains", "a warning: fewer distinct domains in reach than quorum.max_replicas"

    CANCELLED = "task.cancelled", "its submitter cancelled it"
    RETRIED = "task.retried", "its submitter asked for another try"


class Reason(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A code with its parameters. `code` is a `Code`, or one that a newer version or a plug-in wrote."""

    code: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def stored(self) -> str:
        """Return the JSON text that databases hold."""
        return msgspec.json.encode(self).decode()

    def document(self) -> dict[str, Any]:
        """Return the JSON object that `--json` prints; reasons in the parameters are objects of the same form."""
        parameters = msgspec.to_builtins(self.parameters)
        return {"code": str(self.code), "parameters": parameters}

    @classmethod
    def parse(cls, text: str) -> Reason | None:
        """Return the reason that a database holds: None for "", which is none, and `text` for what is not JSON."""
        if not text:
            return None
        try:
            return _DECODER.decode(text)
        except msgspec.DecodeError:
            return cls.text(text)

    @classmethod
    def text(cls, text: str) -> Reason:
        """Return the reason that somebody else gave in words of their own."""
        return cls(code=Code.TEXT, parameters={"text": text})


_DECODER = msgspec.json.Decoder(Reason)


def same(one: Reason | None, other: Reason | None) -> bool:
    """Say whether two reasons are the same, whatever kinds of sequences and strings their parameters are made of."""
    if one is None or other is None:
        return one is other
    return _DECODER.decode(msgspec.json.encode(one)) == _DECODER.decode(msgspec.json.encode(other))
