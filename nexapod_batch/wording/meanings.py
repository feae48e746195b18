"""What each code means, in one line, for the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.reason_codes import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MEANINGS"]

MEANINGS: Mapping[str, str] = {
    Code.IMPORTED: "a sentence from a database of a version that kept no codes",
    Code.TEXT: "what somebody else wrote: a program, a plug-in, the system",
    Code.ACCEPTED: "enough distinct domains agree, and nothing that is out can change that",
    Code.FAILED_ALIKE: "enough distinct domains failed in the same way",
    Code.TOO_MANY_ERRORS: "more replicas failed than max_errors allows",
    Code.TOO_MANY_LOST: "more replicas were lost than max_lost allows",
    Code.NO_DOMAIN_LEFT: "another replica is needed, and no node with unused domains is left",
    Code.USED_UP: "another replica is needed, and max_replicas is used up",
    Code.UNDECIDED: "replicas are out, or wanted",
    Code.TIE: "two groups are equally large; part of another reason",
    Code.TOO_FEW_AGREE: "no group of answers is large enough; part of another reason",
    Code.DOUBTED: "winners signed two different statements since, and too few are left",
    Code.FROM_SITES: "the winners ran on several sites",
    Code.FROM_OWNERS: "the winners ran on machines of several owners, on one site",
    Code.FROM_MACHINES: "the winners ran on several machines of one site and owner",
    Code.FROM_ONE_MACHINE: "the winners ran on one machine: reproducible there, not independent",
    Code.UNREPEATED: "there is one winner: nobody repeated it",
    Code.OTHER_CLASS: "a report without a vote: its numeric class is not the task's",
    Code.TOO_LITTLE_ISOLATION: "a report without a vote: less isolation than the job asks for",
    Code.HOST_UNCONFIRMED: "a report without a vote: the scheduler does not confirm its host",
    Code.NODES_FULL: "every node that could take the replica is full",
    Code.NODES_PAUSED: "the owners of the nodes that could take the replica let nothing start",
    Code.NO_NODE_LEFT: "no node will ever take the replica, and what keeps the first of them",
    Code.NO_NODES: "no node is registered",
    Code.SWITCHED_OFF: "the node is drained",
    Code.CLASS_UNKNOWN: "the profile of the node does not say its numeric class",
    Code.OTHER_TIER: "the node has another tier than the job asks for",
    Code.SINGLE_MACHINE: "the node is one machine, and the job asks for several",
    Code.TOO_SMALL: "the node has too few CPUs or GPUs, or too little memory",
    Code.OTHER_GPU_TYPE: "the node has no GPU of the type that the job asks for",
    Code.SMALL_GPU_MEMORY: "the GPUs of the node have too little memory",
    Code.NODE_OF_OTHER_CLASS: "the node has another numeric class than the task",
    Code.DOMAIN_USED: "another replica of the task was placed on the same node, host, site or owner",
    Code.NODE_FULL: "as many replicas as max_queued allows are out on the node",
    Code.NODE_PAUSED: "the owner of the node lets nothing start there now",
    Code.NODE_CANNOT: "the node cannot do what a key of the job asks for: its container, walls around it, ranks",
    Code.NOT_ASKED_FOR: "the job names other sites than that of the node",
    Code.SITE_REFUSES: "keys of the job go against the policy or the limits of the site",
    Code.UNDECLARED: "the site file declares no such node any more",
    Code.NO_PARTITION: "no partition of the node can run the job, others of its site can",
    Code.NO_ACTIVE_NODE: "no node is registered, or all are drained",
    Code.NO_NODE_OF_TIER: "no node has the tier that the job asks for",
    Code.NO_NODE_LARGE_ENOUGH: "no node has enough of a resource",
    Code.NO_NODE_HAS_ALL: "each resource is there, and no single node has all of them",
    Code.RESOURCE_TOO_LARGE: "a resource, and the node with most of it; part of another reason",
    Code.NO_SUCH_GPU_TYPE: "the type of GPU, and the types that there are; part of another reason",
    Code.TOO_FEW_DOMAINS: "fewer distinct domains in reach than quorum.agree",
    Code.FEW_DOMAINS: "a warning: fewer distinct domains in reach than quorum.max_replicas",
    Code.WAITS_FOR_JOB: "the job waits for another one that it depends on",
    Code.SIGNED: "what the node of the replica signed about how it ended",
    Code.TWO_STATEMENTS: "two different valid statements came for the replica: it has no vote",
    Code.OVERDUE: "its deadline passed; its report may still come",
    Code.NOT_NEEDED: "its task ended before it began",
    Code.REPLICA_CANCELLED: "its submitter cancelled it",
    Code.TAKEN_BACK: "it was taken back before it began, because the owner of the node wanted so",
    Code.BACKEND: "what the backend of the node says, without a code of its own",
    Code.NO_REPORT: "its runner ended without a report",
    Code.NOT_HANDED: "the backend could not take it yet",
    Code.RESTORED: "the database was put back from a backup, and may have forgotten what it handed over",
    Code.CANCELLED: "its submitter cancelled it",
    Code.RETRIED: "its submitter asked for another try",
}
