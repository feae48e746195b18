"""The nouns of planning: nodes and what they have to do, what tasks want, and what comes of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import Domain
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.reason import Reason

__all__ = ["Need", "NodeLoad", "Plan", "Reach"]


class NodeLoad(Struct, frozen=True, kw_only=True):
    """A node, and what it has to do already."""

    node: Node
    out: int = 0  # replicas that are out on it, of all jobs
    blamed: int = 0  # statements that it signed and no honest node signs
    refused: Reason | None = None  # why its site never runs this job there
    paused: Reason | None = None  # why its owner lets it start nothing now
    sized: bool = False  # the job was compared with its partitions: what one host has does not bound it


class Need(Struct, frozen=True, kw_only=True):
    """What one task wants placed."""

    task: int
    want: int
    taken: Sequence[Mapping[Domain, str]] = ()  # domains of replicas placed already, overdue ones too; not lost ones
    networks: frozenset[str] = frozenset()  # from which the nodes of these replicas have called, if they joined
    numeric_class: str | None = None  # fixed at the first dispatch; None before it
    lost_on: frozenset[int] = frozenset()  # ids of nodes that lost it before, as for want of room: others come first
    only: int | None = None  # the one node that may take it: where a state lies from which it goes on


class Plan(Struct, kw_only=True):
    """Where replicas go, and what could not be placed."""

    placements: list[tuple[int, int]] = field(default_factory=list)  # (task, node id); a task's stand together
    blocked: dict[int, Reason] = field(default_factory=dict)  # task -> why not all that it wants was placed
    unplaceable: set[int] = field(default_factory=set)  # blocked, and no wait for free slots will change it
    classes: dict[int, str] = field(default_factory=dict)  # task -> numeric class fixed now; none for class = "any"


class Reach(Struct, frozen=True, kw_only=True):
    """What the registered nodes can do for a job."""

    domains: int  # distinct domains in reach, within the largest class
    reason: Reason | None = None  # why the quorum cannot be met; None: it can
    warning: Reason | None = None  # it can be met, but not as often as `max_replicas` allows
    largest: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # resource -> (most of it, node name)
    classes: Mapping[str, int] = field(default_factory=dict)  # numeric class -> distinct domains
