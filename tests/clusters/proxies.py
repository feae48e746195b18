"""Real reverse proxies before a server of ours, nginx and haproxy, on loopback: they keep connections, and share them.

What they are told is what docs/how-to/server.md tells operators.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clusters.daemons import Daemon, accepts, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["KINDS", "certificate", "proxy"]

KINDS = ("nginx", "haproxy")
_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream coordinator {{ server 127.0.0.1:{to}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port}{tls};
    client_max_body_size 64m;
    location / {{
      proxy_pass http://coordinator;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 90s;
    }}
  }}
}}
"""
_HAPROXY = """
defaults
  mode http
  maxconn 200
  timeout connect 10s
  timeout client 90s
  timeout server 90s
frontend all
  bind 127.0.0.1:{port}{tls}
  option forwardfor
  default_backend coordinator
backend coordinator
  http-reuse always
  server one 127.0.0.1:{to}
"""


def certificate(folder: Path) -> Path:
    """Make a certificate and its key, both in one file."""
    crt, key, both = folder / "proxy.crt", folder / "proxy.key", folder / "proxy.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", crt,
         "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_bytes(crt.read_bytes() + key.read_bytes())
    return both


@contextmanager
def proxy(kind: str, folder: Path, to: int, *, tls: Path | None = None) -> Iterator[int]:
    """Run a proxy before a port of this machine, with a certificate where there is one; yield its own port."""
    folder.mkdir()
    (port,) = free_ports(1)
    config = folder / "config"
    if kind == "nginx":
        more = f" ssl; ssl_certificate {tls}; ssl_certificate_key {tls}" if tls else ""
        config.write_text(_NGINX.format(folder=folder, to=to, port=port, tls=more))
        argv = ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)]
    else:
        more = f" ssl crt {tls}" if tls else ""
        config.write_text(_HAPROXY.format(to=to, port=port, tls=more))
        argv = ["haproxy", "-db", "-f", str(config)]
    daemon = Daemon(folder, kind, argv)
    daemon.start(lambda: accepts(("127.0.0.1", port)))
    try:
        yield port
    finally:
        daemon.stop()
        shutil.rmtree(folder, ignore_errors=True)
