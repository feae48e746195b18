"""The published page in a real browser: readable for everybody, on any screen and on paper, and never more than text."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from publications import PUBLICATION, facts, replica, reproduction, task

from nexapod_batch.publication.facts import Standing
from nexapod_batch.publication.page import page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

HOSTILE = "</style></title><script>document.title='run'</script><img src=http://127.0.0.1:9/x onerror=document.title='run'>\u202e"


#: Milliseconds after which a browser hangs: it starts in one second, and on a loaded machine in twenty.
_HANGS_MS = 300_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a browser."""
    program = shutil.which("chromium")
    assert program is not None, "bin/test installs it"
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=_HANGS_MS)
        yield one
        one.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page with everything that a page can have, and hostile words in it."""
    differs = replica(3, node="a-node-with-quite-a-long-name.example.org", standing=Standing.DIFFERS, remark=HOSTILE)
    lost = replica(4, standing=Standing.NONE, started_ms=None, wall_ms=None, max_rss_kib=None, remark="lost")
    open_one = task(2, accepted=False, state="inconclusive", independence="", replicas=(replica(1, standing=Standing.UNDECIDED),))
    one = task(replicas=(replica(1), replica(2), differs, lost), differences=(HOSTILE, "x" * 500))
    made_of = facts(
        name=HOSTILE, tasks=(one, open_one), problems=(HOSTILE,), reproductions=(reproduction(known=False), reproduction("b", agreed=False)),
        inputs=(("ic.npy", "data/ic.npy", "ab" * 32),), image="docker://python:3.12", checkpoint="nexapod-batch/x\n12\nAAAA\n",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(made_of, PUBLICATION._replace(title=f"Pi {HOSTILE}")), encoding="utf-8")
    return path


@contextmanager
def opened(browser: Browser, page: Path, **how: Any) -> Iterator[Page]:
    """Yield a tab with a page."""
    tab = browser.new_page(**how)
    tab.set_default_timeout(_HANGS_MS)
    try:
        tab.goto(page.as_uri())
        yield tab
    finally:
        tab.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_everybody_can_read_it(browser: Browser, written: Path, width: int, scheme: str) -> None:
    """No rule of axe is violated, on a telephone by day and on a screen by night; nothing is wider than the screen."""
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "bypass_csp": True}  # axe is a script
    with opened(browser, written, **look) as tab:
        found = Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        narrowest = tab.evaluate(
            "Math.min(...[...document.querySelectorAll('th')].map(cell => cell.offsetWidth / cell.innerText.length))"
        )
        assert narrowest > 5, "no word of a heading is broken into letters"


def test_nothing_in_it_runs_and_nothing_is_fetched(browser: Browser, written: Path) -> None:
    """The browser asks for the page and for nothing else, finds its style allowed, and no policy violated."""
    asked: list[str] = []
    said: list[str] = []
    with opened(browser, written) as tab:
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.reload(wait_until="networkidle")
        assert tab.title().startswith("Pi </style></title><script>document.title='run'")
        assert asked == [written.as_uri()]
        assert said == []
        assert tab.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "992px"
        assert tab.locator("script, img, iframe").count() == 0


def test_it_can_be_printed(browser: Browser, written: Path) -> None:
    """On paper nothing needs to be scrolled: what was cut off on a small screen is there."""
    with opened(browser, written) as tab:
        tab.emulate_media(media="print")
        assert tab.evaluate("getComputedStyle(document.querySelector('.wide')).overflowX") == "visible"
        assert tab.pdf(format="A4")[:5] == b"%PDF-"
