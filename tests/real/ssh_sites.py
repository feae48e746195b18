"""Sites that are reached over a real sshd: as nouns, as transports, and what else may answer at an address."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nexapod_backends.slurm.ssh.transport import SshTransport

from nexapod_batch.model.site import Scheduler, Site, Ssh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters.sshd import Sshd


__all__ = ["connected", "listening", "site_of"]


def site_of(sshd: Sshd, **ssh: Any) -> Site:
    """Return a site behind an sshd."""
    reached = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
    scheduler = Scheduler(type="slurm", transport="ssh", cmd_timeout_s=20)
    return Site(name="far", scheduler=scheduler, ssh=Ssh(**{**reached, "connect_timeout_s": 5, **ssh}))


@contextmanager
def connected(sshd: Sshd, **ssh: Any) -> Iterator[SshTransport]:
    """Yield a transport, which is closed afterwards."""
    site = site_of(sshd, **ssh)
    assert site.ssh is not None
    transport = SshTransport(site, site.ssh)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def listening(port: int = 0, answer: bytes = b"") -> Iterator[socket.socket]:
    """Yield a socket that says something else than an sshd to whoever comes; `port` 0 is one that the kernel chooses."""

    def serve() -> None:
        while True:
            try:
                talk, _ = listener.accept()
            except OSError:
                return
            with talk:
                talk.sendall(answer)
                talk.settimeout(5)
                try:
                    while talk.recv(1024):
                        pass
                except OSError:
                    pass

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        if answer:
            thread.start()
        yield listener
        if answer:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
