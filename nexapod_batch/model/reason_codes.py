"""The codes of reasons, apart from what stores and reads them: sentences are made where nothing else is needed."""

from __future__ import annotations

__all__ = ["Code"]


class Code:
    """Every code that this program writes; `wording.meanings` says what each means.

    Codes are never renamed: databases and scripts hold them.
    """

    IMPORTED = "imported"
    TEXT = "text"

    ACCEPTED = "quorum.accepted"
    FAILED_ALIKE = "quorum.failed_alike"
    TOO_MANY_ERRORS = "quorum.too_many_errors"
    TOO_MANY_LOST = "quorum.too_many_lost"
    NO_DOMAIN_LEFT = "quorum.no_domain_left"
    USED_UP = "quorum.used_up"
    UNDECIDED = "quorum.undecided"
    TIE = "quorum.tie"
    TOO_FEW_AGREE = "quorum.too_few_agree"
    DOUBTED = "quorum.doubted"

    FROM_SITES = "independence.sites"
    FROM_OWNERS = "independence.owners"
    FROM_MACHINES = "independence.machines"
    FROM_ONE_MACHINE = "independence.one_machine"
    UNREPEATED = "independence.unrepeated"

    OTHER_CLASS = "vote.other_class"
    TOO_LITTLE_ISOLATION = "vote.isolation"
    HOST_UNCONFIRMED = "vote.host_unconfirmed"

    NODES_FULL = "placement.nodes_full"
    NODES_PAUSED = "placement.nodes_paused"
    NO_NODE_LEFT = "placement.no_node_left"
    NO_NODES = "placement.no_nodes"

    SWITCHED_OFF = "node.switched_off"
    CLASS_UNKNOWN = "node.class_unknown"
    OTHER_TIER = "node.other_tier"
    SINGLE_MACHINE = "node.single_machine"
    TOO_SMALL = "node.too_small"
    OTHER_GPU_TYPE = "node.other_gpu_type"
    SMALL_GPU_MEMORY = "node.small_gpu_memory"
    NODE_OF_OTHER_CLASS = "node.other_class"
    DOMAIN_USED = "node.domain_used"
    NODE_FULL = "node.full"
    NODE_PAUSED = "node.paused"
    NODE_CANNOT = "node.cannot"

    NOT_ASKED_FOR = "site.not_asked_for"
    SITE_REFUSES = "site.refuses"
    UNDECLARED = "site.undeclared"
    NO_PARTITION = "site.no_partition"

    NO_ACTIVE_NODE = "reach.no_active_node"
    NO_NODE_OF_TIER = "reach.no_node_of_tier"
    NO_NODE_LARGE_ENOUGH = "reach.no_node_large_enough"
    NO_NODE_HAS_ALL = "reach.no_node_has_all"
    RESOURCE_TOO_LARGE = "reach.resource_too_large"
    NO_SUCH_GPU_TYPE = "reach.no_such_gpu_type"
    TOO_FEW_DOMAINS = "reach.too_few_domains"
    FEW_DOMAINS = "reach.few_domains"

    WAITS_FOR_JOB = "job.waits_for"

    SIGNED = "replica.signed"
    TWO_STATEMENTS = "replica.two_statements"
    OVERDUE = "replica.overdue"
    NOT_NEEDED = "replica.not_needed"
    REPLICA_CANCELLED = "replica.cancelled"
    TAKEN_BACK = "replica.taken_back"

    BACKEND = "launch.backend"
    NO_REPORT = "launch.no_report"
    NOT_HANDED = "launch.not_handed"
    RESTORED = "launch.restored"

    CANCELLED = "task.cancelled"
    RETRIED = "task.retried"
