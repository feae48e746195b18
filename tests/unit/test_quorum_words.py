"""What a verdict says about the independence that was reached."""

from __future__ import annotations

import pytest

from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.job import Domain
from nexapod_batch.quorum import Vote
from nexapod_batch.quorum.domains import independence


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([("h1", "s1", "o1"), ("h2", "s2", "o1")], "from 2 sites"),
        ([("h1", "s1", "o1"), ("h2", "s2", "o2")], "from 2 sites of 2 owners"),
        ([("h1", "s", "o1"), ("h2", "s", "o2")], "from 2 owners on 2 machines of one site"),
        ([("h1", "s", "o"), ("h2", "s", "o")], "from 2 machines of one site and owner"),
        ([("h", "s", "o1"), ("h", "s", "o2")], "both on h: reproducible there, not independent"),
        ([("h", "s", "o")] * 3, "all on h: reproducible there, not independent"),
        ([("", "s", "o")] * 2, "both on one machine: reproducible there, not independent"),
        ([("h", "s", "o")], "nobody repeated it: not independent"),
    ],
)
def test_independence(places: list[tuple[str, str, str]], words: str) -> None:
    """One machine is called one machine, whoever owns the nodes on it."""
    votes = [
        Vote(
            number=number,
            domain=dict(zip((Domain.HOST, Domain.SITE, Domain.OWNER), place, strict=True)),
            execution=Execution.REPORTED,
        )
        for number, place in enumerate(places, 1)
    ]
    assert independence(votes) == words
