"""What a server costs: CPU of its process for a request, beside bare Starlette; and what importing the client costs.

    python bench/server.py [REQUESTS]

CPU time is read from /proc, so that a busy machine changes little. One connection, plain HTTP on loopback, no load but this.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers import environment, running

BARE = """
import socket, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def me(request): return JSONResponse({"person": "root", "scope": "admin"})
sock = socket.socket(); sock.bind(("127.0.0.1", 0)); sock.listen(); print(sock.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/v1/me", me), Route("/v1/problems/sign-in", me)])
uvicorn.Server(uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", log_config=None, access_log=False)).run([sock])
"""


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost_us(pid: int, port: int, path: str, number: int, token: str = "") -> tuple[float, float]:
    """Return CPU of the server in microseconds for one request, and requests each second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    before, begun = cpu_s(pid), 0.0
    for count in range(number + 200):
        if count == 200:
            before, begun = cpu_s(pid), perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}")
    took = perf_counter() - begun
    connection.close()
    return (cpu_s(pid) - before) * 1e6 / number, number / took


def import_ms(module: str) -> float:
    """Return the least CPU time of several that importing a module takes in a fresh interpreter, less that of nothing."""

    def least(code: str) -> float:
        times = []
        for _ in range(15):
            process = subprocess.Popen([sys.executable, "-c", code], env={"PATH": os.environ["PATH"]})
            _, _, used = os.wait4(process.pid, 0)
            process.returncode = 0
            times.append(used.ru_utime + used.ru_stime)
        return min(times)

    return (least(f"import {module}") - least("pass")) * 1000


def main() -> None:
    """Measure and print."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    ours, theirs = import_ms("nexapod_client"), import_ms("httpx2")
    print(f"import nexapod_client {ours:.1f} ms, import httpx2 {theirs:.1f} ms: {ours / theirs:.2f}")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home", "--rate", "1000000") as server:
        bare = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True, env=environment(Path(folder)))
        try:
            port = int(bare.stdout.readline() if bare.stdout else 0)
            for path, token in (("/v1/problems/sign-in", ""), ("/v1/me", server.token)):
                plain, plain_rate = cost_us(bare.pid, port, path, number)
                cost, rate = cost_us(server.process.pid, server.port, path, number, token)
                told = "with a token, looked up in the database" if token else "without a token"
                print(f"{told}: {cost:.0f} us and {rate:.0f}/s, bare Starlette {plain:.0f} us and {plain_rate:.0f}/s")
        finally:
            bare.terminate()
            bare.wait()
    print(f"memory of an idle server: {resident_mib()} MiB")


def resident_mib() -> str:
    """Return the resident memory of a server that nobody asks anything, and of its process of passes."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home") as server:
        server.ask("GET", "/v1/me")
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        sizes = []
        for pid in [str(server.process.pid), *children]:
            status = Path(f"/proc/{pid}/status").read_text()
            sizes.append(int(status.partition("VmRSS:")[2].split()[0]) // 1024)
        return " + ".join(map(str, sizes))


if __name__ == "__main__":
    main()
