"""What a verdict says about the independence that was reached."""

from __future__ import annotations

import pytest

from nexapod_batch.coordinator.verification.verdicts import _other_reason
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.job import Domain
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import Vote
from nexapod_batch.quorum.domains import independence
from nexapod_batch.wording import sentence


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
    """One machine is called one machine, whoever owns the nodes on it; each node's key has a maker of its own."""
    votes = [
        Vote(
            number=number,
            domain=dict(zip((Domain.HOST, Domain.SITE, Domain.OWNER), place, strict=True)),
            execution=Execution.REPORTED,
            run_by=f"account{number}",
        )
        for number, place in enumerate(places, 1)
    ]
    assert sentence(independence(votes)) == words


@pytest.mark.parametrize(
    ("places", "makers", "words"),
    [
        ([("h1", "s1", "o"), ("h2", "s2", "o")], "aa", "from 2 sites, all run by one account"),
        ([("h1", "s1", "o1"), ("h2", "s2", "o2")], "aa", "from 2 sites of 2 owners by label, all run by one account"),
        ([("h1", "s1", "o1"), ("h2", "s2", "o2")], "ab", "from 2 sites of 2 owners"),
        ([("h1", "s", "o1"), ("h2", "s", "o2")], "aa", "from 2 owners by label on 2 machines of one site, all run by one account"),
        ([("h1", "s", "o"), ("h2", "s", "o")], "aa", "from 2 machines of one site and owner, all run by one account"),
        ([("h1", "s1", "o"), ("h2", "s2", "o"), ("h3", "s3", "o")], "aab", "from 3 sites"),
        ([("h", "s", "o1"), ("h", "s", "o2")], "aa", "both on h: reproducible there, not independent"),
        ([("h", "s", "o")], "a", "nobody repeated it: not independent"),
    ],
)
def test_one_account_is_named_whatever_the_labels(places: list[tuple[str, str, str]], makers: str, words: str) -> None:
    """Sites and owners are names; that one account made all keys is known."""
    votes = [
        Vote(
            number=number,
            domain=dict(zip((Domain.HOST, Domain.SITE, Domain.OWNER), place, strict=True)),
            execution=Execution.REPORTED,
            run_by=maker,
        )
        for number, (place, maker) in enumerate(zip(places, makers, strict=True), 1)
    ]
    assert sentence(independence(votes)) == words


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        (["n1", "n1"], "both on alpha (n1): reproducible there, not independent"),
        (["n2", "n1"], "both on alpha (n1, n2): reproducible there, not independent"),
        (["n1", "n2", "n3", "n4"], "all on alpha (n1, n2, n3, ...): reproducible there, not independent"),
        (["alpha", ""], "both on alpha: reproducible there, not independent"),
    ],
)
def test_hosts_of_a_cluster_are_named(hosts: list[str], words: str) -> None:
    """A cluster counts as one machine; which of its hosts computed is said all the same."""
    domain = {Domain.HOST: "alpha", Domain.SITE: "s", Domain.OWNER: "o"}
    votes = [
        Vote(number=number, domain=domain, execution=Execution.REPORTED, where=where)
        for number, where in enumerate(hosts, 1)
    ]
    assert sentence(independence(votes)) == words


BEFORE = {"sites": 2, "owners": 2}
NOW = {"sites": 2, "owners": 1, "run_by_one": True}


@pytest.mark.parametrize(
    ("stored", "found", "agree", "faulty"),
    [
        (BEFORE, NOW, 2, False),
        (BEFORE, NOW, 3, True),
        (NOW, NOW, 2, False),
        (NOW, {**NOW, "sites": 3}, 2, True),
        (NOW, {**NOW, "run_by_one": False}, 2, True),
    ],
)
def test_verdicts_from_before_makers_were_noted_hold(
    stored: dict[str, int], found: dict[str, int], agree: int, *, faulty: bool
) -> None:
    """Their owners were told otherwise; the rest of the sentence is compared, and all of it since."""

    def accepted(independent: dict[str, int], winners: int) -> Reason:
        inner = Reason(code=Code.FROM_SITES, parameters=independent)
        return Reason(code=Code.ACCEPTED, parameters={"winners": winners, "votes": 2, "independence": inner})

    assert bool(_other_reason("reason", accepted(stored, 2).stored(), accepted(found, agree))) is faulty
