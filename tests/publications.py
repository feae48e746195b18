"""Facts of a made-up result, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from nexapod_batch.model.publication import Creator, Publication
from nexapod_batch.publication.catalogue import Entry
from nexapod_batch.publication.facts import (
    Facts,
    KeyFacts,
    OutputFacts,
    ReplicaFacts,
    ReproductionFacts,
    Standing,
    TaskFacts,
)

UUID = "01a22b15-bc72-76cf-8453-faa750cb078e"
#: What tries to become more than text, wherever it is shown.
HOSTILE = (
    "</style></title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "a\u202eb\u2066c\x00d\x1b[31me\x85f\ud800g",
    "]]>&lt;&amp;",
    "x" * 100_000,
)

PUBLICATION = Publication(
    title="Pi to six digits",
    creators=(
        Creator(family_name="Lovelace", given_name="Ada", orcid="0000-0002-1825-0097", affiliation="Analytical Engines"),
        Creator(name="Difference Engine Ltd"),
    ),
    license="CC-BY-4.0",
    description="Pi, computed twice.\n\nAnd once more.",
    keywords=("pi", "reproducibility"),
    publisher="Example Repository",
)


def replica(number: int = 1, **changes: Any) -> ReplicaFacts:
    """Return an execution that agrees."""
    values: dict[str, Any] = {
        "number": number, "node": f"node{number}", "site": f"site{number}", "owner": "alice", "standing": Standing.AGREES,
        "answer": "9f86d081", "host": f"host{number}.example.org", "machine": "linux-x86_64", "isolation": "container",
        "started_ms": 1_795_990_000_000, "finished_ms": 1_795_990_061_500, "wall_ms": 61_500, "cpu_ms": 55_000, "max_rss_kib": 210_000,
    }
    return ReplicaFacts(**{**values, **changes})


def task(number: int = 0, **changes: Any) -> TaskFacts:
    """Return a task that two sites agree on."""
    values: dict[str, Any] = {
        "number": number, "accepted": True, "state": "accepted", "verdict": "2 of 2 agree, from 2 sites", "agreed": 2, "votes": 2,
        "independence": "2 sites", "independent": True, "replicas": (replica(1), replica(2)),
        "outputs": (OutputFacts("pi.txt", "9f" * 32, 8),),
    }
    return TaskFacts(**{**values, **changes})


def facts(**changes: Any) -> Facts:
    """Return the facts of a job of one task."""
    values: dict[str, Any] = {
        "job": 3, "name": "pi", "uuid": UUID, "digest": "4c" * 32, "program": "python3 run.py", "image": "", "inputs": (),
        "compared": (("pi.txt", "exact"),), "policy": "2 must agree", "tasks": (task(),),
        "keys": (KeyFacts("SHA256:vEXQ", "node1", "site1", "alice", "unattributed"),), "statements": 2, "archive": "pi.tar",
    }
    return Facts(**{**values, **changes})


def entry(publication: Publication = PUBLICATION, **changes: Any) -> Entry:
    """Return the entry of a result."""
    return Entry(facts(**changes), publication, "2026-11-30", (("pi.tar", 10_240),))


def reproduction(key: str = "SHA256:carol", *, agreed: bool = True, known: bool = True) -> ReproductionFacts:
    """Return what somebody found who ran it again."""
    how = "" if agreed else "pi.txt: line 1"
    return ReproductionFacts("carol", "her own cluster", 1_796_990_000_000, agreed, how, key, known)
