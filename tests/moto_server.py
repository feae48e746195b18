"""A real server that speaks S3 (moto), with one bucket, on a port of the loopback that the kernel chose."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["s3_server"]


@contextmanager
def s3_server(bucket: str = "data") -> Iterator[dict[str, str]]:
    """Yield the environment by which a server with a bucket is reached."""
    program = Path(sys.executable).with_name("moto_server")
    server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", "0"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert server.stderr is not None
    url = next(found[1] for line in server.stderr if (found := re.search(r"Running on (http://\S+)", line)))
    drain = threading.Thread(target=server.stderr.read, daemon=True)  # it writes a line for each request
    drain.start()
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    connection.request("PUT", f"/{bucket}")
    connection.getresponse().read()
    connection.close()
    try:
        yield {
            "AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret",
        }  # fmt: skip
    finally:
        server.terminate()
        server.wait()
        drain.join()
        server.stderr.close()
