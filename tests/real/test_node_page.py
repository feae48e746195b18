"""The node's own page in a real browser: readable for everybody, without a script, and never more than text."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from nexapod_batch.agent.page import NodePage
from nexapod_batch.agent.state import State
from nexapod_batch.local_nodes import owner_policy
from nexapod_batch.local_nodes.owner_policy import Owned
from nexapod_batch.mesh.messages import Said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

_HANGS_MS = 300_000
HOSTILE = "</td><script>document.title='run'</script><img src=http://127.0.0.1:9/x onerror=document.title='run'>"


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[NodePage]:
    """Show the page of a node that did something, of which its coordinator said hostile things."""
    spool = tmp_path / "spool"
    for folder in ("inbox", "claims", "refused"):
        (spool / folder).mkdir(parents=True)
    settings = {"host": socket.gethostname(), "cpus": 4, "mem_mib": 4096, "work": str(tmp_path), "backend": "joined"}
    (spool / "node.json").write_text(json.dumps(settings))
    state = State(begun_at=time.time(), why=HOSTILE, trouble=HOSTILE, taken=3)
    state.note({"a" * 32: Said(state="FAILED", reason=HOSTILE), "b" * 32: Said(state="COMPLETED")}, time.time())
    page = NodePage(Owned(name="one", spool=spool, settings=settings), lambda: state, 0)
    yield page
    page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a browser."""
    program = shutil.which("chromium")
    assert program is not None, "bin/test installs it"
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=_HANGS_MS)
        yield one
        one.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_everybody_can_read_and_use_it(browser: Browser, shown: NodePage, width: int, scheme: Any) -> None:
    """No rule of axe is violated; it is paused and resumed by forms, where scripts are switched off."""
    look: dict[str, Any] = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    tab = browser.new_page(**look, bypass_csp=True)  # axe is a script
    tab.set_default_timeout(_HANGS_MS)
    tab.goto(shown.url)
    found = Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()
    assert tab.title() == "Node one"
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()
    plain = browser.new_page(**look, java_script_enabled=False)
    plain.set_default_timeout(_HANGS_MS)
    plain.goto(shown.url)
    plain.select_option("#for", "4h")
    plain.click("button:has-text('Pause')")
    plain.wait_for_selector("button:has-text('Resume')")
    assert "snoozed" in owner_policy.paused(shown.owned.spool)[0]
    plain.click("button:has-text('Resume')")
    plain.wait_for_selector("button:has-text('Pause')")
    assert owner_policy.paused(shown.owned.spool)[0] == ""
    plain.close()


def test_nothing_in_it_runs_and_nothing_is_fetched(browser: Browser, shown: NodePage) -> None:
    """The browser asks for the page alone, its style is allowed, and no policy is violated."""
    asked, said = list[str](), list[str]()
    tab = browser.new_page()
    tab.set_default_timeout(_HANGS_MS)
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(shown.url, wait_until="networkidle")
    assert tab.title() == "Node one"
    assert [url for url in asked if not url.endswith("favicon.ico")] == [shown.url]
    assert [text for text in said if "favicon" not in text] == []
    tab.close()


def send(page: NodePage, method: str, path: str = "/", body: str = "", **headers: str) -> tuple[int, str]:
    """Return status and body of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    sent = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    connection.request(method, path, body=body or None, headers={**sent, **headers})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_forms_of_other_pages_change_nothing(shown: NodePage) -> None:
    """Without the token, with another one, from another origin, under another name, or too large."""
    good = urlencode({"do": "pause", "for": "1h", "token": shown.token})
    refused = [
        send(shown, "POST", body=urlencode({"do": "pause", "for": "1h"})),
        send(shown, "POST", body=urlencode({"do": "pause", "for": "1h", "token": "x"})),
        send(shown, "POST", body=good, Origin="https://evil.example"),
        send(shown, "POST", body=good, Origin="null"),
        send(shown, "POST", body=good, Host="evil.example"),
        send(shown, "POST", body=good, Host="evil.example:80"),
        send(shown, "POST", body=good + "&x=" + "y" * 5000),
        send(shown, "POST", "/metrics", body=good),
        send(shown, "POST", body=good.replace("1h", "soon")),
        send(shown, "GET", Host="evil.example"),
    ]
    assert [status for status, _ in refused] == [403, 403, 403, 403, 421, 421, 400, 404, 400, 421]
    assert owner_policy.paused(shown.owned.spool)[0] == ""
    assert send(shown, "POST", body=good, Origin=shown.url.rstrip("/"))[0] == 303
    assert "snoozed" in owner_policy.paused(shown.owned.spool)[0]


def test_another_account_of_the_machine_may_look_and_no_more(shown: NodePage) -> None:
    """Everybody reaches loopback: what changes something comes from the node's own account."""
    code = (
        "import http.client, sys, re; c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]));"
        "c.request('GET', '/'); a = c.getresponse(); t = re.search('name=.token. value=.([^\"]+)', a.read().decode())[1];"
        "c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]));"
        "c.request('POST', '/', body='do=pause&for=1h&token=' + t); print(a.status, c.getresponse().status)"
    )
    argv = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code, str(shown.port)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout.split() == ["200", "403"], done.stderr
    assert owner_policy.paused(shown.owned.spool)[0] == ""


def test_metrics_are_as_prometheus_wants_them(shown: NodePage) -> None:
    """`promtool` has nothing to say about them."""
    _, text = send(shown, "GET", "/metrics")
    assert 'nexapod_node_launches_ended_total{state="FAILED"} 1' in text
    promtool = shutil.which("promtool")
    assert promtool is not None, "bin/test installs it"
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert re.search(r"^nexapod_node_cpus 4$", text, re.MULTILINE)
