"""A real server of a home of its own, as a process, over real TLS on a port that the kernel chose."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from homes import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Answer", "Running", "environment", "running"]


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Running(NamedTuple):
    """A server that runs."""

    home: Path
    url: str
    join: str
    token: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """The port."""
        return urlsplit(self.url).port or 0

    def ask(self, method: str, path: str, *, token: str | None = None, body: object = None, **headers: str) -> Answer:
        """Ask over TLS, with the administrator's token unless another is given ("" for none)."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self.token if token is None else token
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of ours on the server's home."""
        argv = [PROGRAM, *arguments]
        env = environment(self.home)
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0 or not check, f"{argv[1:]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a process that works on a home."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "NEXAPOD_HOME": str(home)}


@contextmanager
def running(home: Path, *options: str, init: bool = True) -> Iterator[Running]:
    """Serve a home until the block ends, gracefully."""
    first = ["--init"] if init else []
    argv = [PROGRAM, "serve", *first, "--host", "127.0.0.1", "--port", "0", *options]
    errors = home.parent / f"{home.name}.serve.err"
    with errors.open("wb") as log:
        process = subprocess.Popen(argv, env=environment(home), stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline().rstrip("\n") for _ in range(3 if init else 2)]
        assert lines[0].startswith("https://"), errors.read_text()
        yield Running(home, lines[0], lines[1], lines[2] if init else "", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()
