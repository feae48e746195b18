"""The page, the badge and the figure: what they say, and that nothing in them is more than text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.parsers import expat

import pytest
from publications import HOSTILE, PUBLICATION, facts, replica, reproduction, task

from nexapod_batch.model.publication import Creator
from nexapod_batch.publication import text
from nexapod_batch.publication.badge import badge, summary
from nexapod_batch.publication.facts import KeyFacts, OutputFacts, Standing
from nexapod_batch.publication.figure import figure, in_order
from nexapod_batch.publication.page import page

if TYPE_CHECKING:
    from nexapod_batch.publication.facts import Facts

LONE = task(independence="one machine", independent=False)
FAILED = task(5, accepted=False, state="failed", agreed=0, votes=0, independence="")

#: Facts, and what their badge says.
BADGES = [
    (facts(), "2 of 2 agree, 2 sites"),
    (facts(reproductions=(reproduction(),)), "2 of 2 agree, 2 sites, reproduced once"),
    (facts(reproductions=(reproduction("a"), reproduction("b"), reproduction("c"))), "2 of 2 agree, 2 sites, reproduced 3 times"),
    (facts(reproductions=(reproduction("a"), reproduction("a"))), "2 of 2 agree, 2 sites, reproduced once"),
    (facts(reproductions=(reproduction("a", known=False),)), "2 of 2 agree, 2 sites, reproduced once by unknown keys"),
    (facts(reproductions=(reproduction("a", known=False), reproduction("b"))), "2 of 2 agree, 2 sites, reproduced once"),
    (facts(reproductions=(reproduction("a"), reproduction("b", agreed=False))), "2 of 2 agree, 2 sites, reproduced once, differed once"),
    (facts(reproductions=(reproduction("a"), reproduction("a", agreed=False))), "2 of 2 agree, 2 sites, differed once"),
    (facts(tasks=(LONE,)), "2 of 2 agree, one machine"),
    (facts(tasks=(task(0), task(1, agreed=3))), "2 of 2 tasks, 2 agree on each, 2 sites"),
    (facts(tasks=(task(0), LONE)), "2 of 2 tasks, 2 agree on each, one machine"),
    (facts(tasks=(task(0), task(1, independence="3 machines"))), "2 of 2 tasks, 2 agree on each, several machines"),
    (facts(tasks=(task(0), FAILED)), "1 of 2 tasks, 2 agree on each, 2 sites"),
    (facts(tasks=(FAILED,)), "no agreement"),
    (facts(problems=("a statement is not signed",)), "does not verify"),
    (facts(job=None, tasks=(), keys=(), problems=("a file was changed",)), "does not verify"),
]


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in {"href", "src", "action", "data"}]


def check_xml(image: str) -> None:
    """ExpatError for an image that is no XML."""
    expat.ParserCreate().Parse(image.encode(), True)


def hostile(words: str) -> Facts:
    """Return facts with the same words wherever somebody else chooses any."""
    one = replica(1, node=words, site=words, owner=words, host=words, machine=words, remark=words, isolation=words, answer=words)
    lost = replica(2, node=words, standing=Standing.NONE, started_ms=None, finished_ms=None, wall_ms=None, max_rss_kib=None)
    what = task(replicas=(one, lost), verdict=words, parameters=((words, words),), differences=(words,), outputs=(OutputFacts(words, words, None),))
    return facts(
        name=words, program=words, image=words, inputs=((words, words, words),), compared=((words, words),), policy=words, tasks=(what,),
        keys=(KeyFacts(words, words, words, words, words),), checkpoint=words, archive=words, problems=(words,),
        reproductions=(reproduction()._replace(who=words, where=words, how=words),),
    )  # fmt: skip


@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_stay_words(words: str) -> None:
    """A page of hostile words has the tags, the attributes and the links of an innocent one, and no character of theirs.

    Nothing of it is a script, and nothing leads anywhere but to ORCID, SPDX and the page itself.
    """
    publication = PUBLICATION._replace(title=words, description=words, creators=(Creator(name=words, affiliation=words),))
    html, innocent = Tags(), Tags()
    written = page(hostile(words), publication)
    html.feed(written)
    innocent.feed(page(hostile("innocent"), publication._replace(title="innocent")))
    assert (html.tags, html.attributes) == (innocent.tags, innocent.attributes)
    assert not html.tags & {"script", "iframe", "object", "embed", "form", "link", "base", "img"}
    assert all(re.match(r"#|https://spdx\.org/licenses/|https://orcid\.org/", link) for link in html.links)
    assert written.replace("\n", "").isprintable()
    assert len(written) < 400_000
    check_xml(badge(hostile(words)))
    check_xml(figure(hostile(words), standalone=True))


def test_the_policy_of_the_page_allows_its_own_style_and_nothing_else() -> None:
    """The digest in it is that of the one style sheet; no attribute brings a style of its own."""
    written = page(facts(), PUBLICATION)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', written)
    style = re.search(r"<style>(.*?)</style>", written, re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1] == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "style=" not in written
    assert "url(" not in style[1]
    assert "@import" not in style[1]


@pytest.mark.parametrize(("made_of", "words"), BADGES, ids=[words for _, words in BADGES])
def test_badges_say_what_was_found(made_of: Facts, words: str) -> None:
    """And never more: the least independent task speaks for all, and what disagreed is counted too."""
    assert summary(made_of) == words
    assert f'<title id="badge-title">computed: {words}</title>' in badge(made_of)


def test_a_page_of_what_does_not_hold_begins_with_that() -> None:
    """In an alarm, before the title, with what is wrong."""
    written = page(facts(problems=("1_0.1 is not signed by its key",)), PUBLICATION)
    before = written[: written.index("<h1>")]
    assert "This result does not verify." in before
    assert "1_0.1 is not signed by its key" in before
    assert "All held" not in written


def test_a_page_names_everything_that_a_reader_needs() -> None:
    """What, who, when, at what cost, what agreed, how it differed, and how to check it."""
    one = replica(3, standing=Standing.DIFFERS, remark="", gpu_energy_mj=7_200_000)
    what = task(replicas=(replica(1), replica(2), one), differences=("pi.txt: line 1: accepted 3.14, rejected 3.15",))
    written = page(facts(tasks=(what,), checkpoint="nexapod-batch/ledger\n12\n"), PUBLICATION)
    for words in (
        "Pi to six digits", "Lovelace, Ada", "Analytical Engines", "python3 run.py", "2 of 2 agree, from 2 sites", "site3", "host2.example.org",
        "from 2026-11-29 22:06:40 UTC to 2026-11-29 22:07:41 UTC", "3 min 4 s in 3 executions", "2 Wh", "accepted 3.14, rejected 3.15",
        "nexapod-batch verify pi.tar", "sha256sum --check SHA256SUMS", facts().uuid, facts().digest, "SHA256:vEXQ", "nexapod-batch/ledger",
        "CC-BY-4.0", "9f" * 32, "What this does not show",
    ):
        assert words in written, words


def test_what_nobody_repeated_is_not_said_to_be() -> None:
    """One answer of one node is an answer, and no agreement."""
    alone = task(agreed=1, votes=1, independence="not repeated", independent=False, replicas=(replica(1),))
    assert "nobody repeated it" in page(facts(tasks=(alone,)), PUBLICATION)
    assert "computed more than once" in page(facts(), PUBLICATION)
    assert "no answer was agreed on" in page(facts(tasks=(FAILED,)), PUBLICATION)


def test_many_tasks_are_cut_and_those_worth_a_look_come_first() -> None:
    """Without a result, then disputed, then the others; the page says how many there are."""
    disputed = task(700, replicas=(replica(1), replica(2), replica(3, standing=Standing.DIFFERS)))
    many = facts(tasks=(*(task(number) for number in range(1000) if number not in {5, 700}), FAILED, disputed))
    assert [one.number for one in in_order(many.tasks)[:3]] == [5, 700, 0]
    written = page(many, PUBLICATION)
    assert "(200 of 1000; the archive has all of them)" in written
    assert "and 976 more tasks" in figure(many, standalone=False)
    assert len(written) < 500_000


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (text.duration(0), "0 s"), (text.duration(59_940), "59.9 s"), (text.duration(61_500), "1 min 2 s"), (text.duration(3_600_000), "1 h 0 min"),
        (text.duration(200_000_000), "2 d 7 h"), (text.energy(500), "0.5 J"), (text.energy(7_200_000), "2 Wh"),
        (text.energy(7_200_000_000), "2 kWh"), (text.memory(512), "512 KiB"), (text.memory(2048), "2 MiB"), (text.memory(3 << 20), "3 GiB"),
        (text.moment(0), "1970-01-01 00:00:00 UTC"), (text.moment(10**18), "1000000000000000000 ms since 1970"), (text.day(0), "1970-01-01"),
        (text.shown("a\tb\nc"), "a    b\nc"), (text.shown("abc", limit=2), "ab... (3 characters)"),
    ],
)  # fmt: skip
def test_amounts_are_in_units_that_suit_them(said: str, wanted: str) -> None:
    """Times, energies, amounts of memory, and texts."""
    assert said == wanted
