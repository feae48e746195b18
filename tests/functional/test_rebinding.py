"""Names that lead to the Internet when they are looked at first, and into this machine a moment later.

A real DNS server in a network namespace of its own, whose resolv.conf names it; the public address is one of the namespace's loopback.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clusters.certificates import Authority
from clusters.daemons import program

if TYPE_CHECKING:
    from collections.abc import Sequence

TESTS = Path(__file__).parents[1]
PUBLIC = "8.8.8.8"
SETUP = 'ip link set lo up && ip address add "$1/32" dev lo && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
#: Runs inside: answers each question for an address with the next one of a list, and fetches by that name.
INSIDE = """
import json, os, socket, struct, sys, threading
from pathlib import Path
from raw_server import raw_server
from nexapod_batch.errors import NexapodError
from nexapod_batch.sources import SourceSettings
from nexapod_batch.sources.fetching import fetch
from nexapod_batch.sources.https import HttpsSource

certificate, key, folder, name, *addresses = sys.argv[1:]
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.bind(("127.0.0.1", 53))
asked = []

def serve():
    left = list(addresses)
    while True:
        question, client = resolver.recvfrom(512)
        end = question.index(0, 12) + 5
        kind, = struct.unpack(">H", question[end - 4 : end - 2])
        found = []
        if kind == 1:
            found = (left.pop(0) if len(left) > 1 else left[0]).split("+")
            asked.append(found)
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        records = [b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(one) for one in found]
        resolver.sendto(head + question[12:end] + b"".join(records), client)

threading.Thread(target=serve, daemon=True).start()

class Quiet:
    start = advance = say = lambda *_: None

whole = b"HTTP/1.1 200 OK\\r\\nETag: \\"1\\"\\r\\nContent-Length: 2000\\r\\n\\r\\n"
settings = SourceSettings(private_hosts=tuple(filter(None, os.environ.get("PRIVATE", "").split())))
with raw_server(Path(certificate), Path(key), host="0.0.0.0") as server:
    server.answer = lambda _: (whole, b"x" * 1000)  # and breaks off
    url = f"https://{name}:{server.url.rpartition(':')[2]}/x"
    try:
        fetch(HttpsSource(), url, Path(folder), settings, Quiet(), pause=lambda _: None)
        said = ""
    except NexapodError as error:
        said = str(error)
    print(json.dumps({"said": said, "requests": len(server.asked), "looked_up": asked}))
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return who signs the server's certificate."""
    return Authority(tmp_path / "ca")


def fetched_inside(authority: Authority, tmp_path: Path, name: str, addresses: Sequence[str]) -> dict[str, object]:
    """Fetch by a name that leads to one address after the other; return what was said, asked and looked up."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    certificate, key = authority.issue("server", name)
    kept = tmp_path / "kept"
    kept.mkdir()
    argv = [sys.executable, "-c", INSIDE, *map(str, (certificate, key, kept)), name, *addresses]
    done = subprocess.run(
        [program("unshare"), "--net", "--mount", "sh", "-c", SETUP, "sh", PUBLIC, str(conf), *argv],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(TESTS), "SSL_CERT_FILE": str(authority.certificate)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("no namespaces here")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["data.example", "127.0.0.1.nip.io"])
def test_a_name_that_leads_elsewhere_the_next_time(authority: Authority, tmp_path: Path, name: str) -> None:
    """It was asked where it was public; this machine is not even called."""
    found = fetched_inside(authority, tmp_path, name, [PUBLIC, "127.0.0.1"])
    assert f"{name} is a private address: got 127.0.0.1" in str(found["said"])
    assert found["requests"] == 1
    assert found["looked_up"] == [[PUBLIC], ["127.0.0.1"]]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - an answer
def test_a_name_that_leads_here_at_once(authority: Authority, tmp_path: Path, address: str) -> None:
    """Nothing is asked, and it is looked up once."""
    found = fetched_inside(authority, tmp_path, "data.example", [address])
    assert f"data.example is a private address: got {address}" in str(found["said"])
    assert (found["requests"], found["looked_up"]) == (0, [[address]])


def test_a_name_that_has_a_private_address_besides(authority: Authority, tmp_path: Path) -> None:
    """That one is passed over."""
    found = fetched_inside(authority, tmp_path, "data.example", [f"127.0.0.1+{PUBLIC}", "127.0.0.1"])
    assert "data.example is a private address" in str(found["said"])
    assert found["requests"] == 1
