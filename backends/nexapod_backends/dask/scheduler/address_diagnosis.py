"""What is at the address of a scheduler that cannot be used, in words: a look with a plain socket, after the fact."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

__all__ = ["at", "certificate", "what"]

_LOOK_S = 0.5  # for a first word, and for an answer
_QUESTION = b"GET / HTTP/1.0\r\n\r\n"
_CHECK = "check that the scheduler runs, and the address in the site file"


def at(address: str) -> tuple[str, str] | None:
    """Return what is at an address that cannot be used, and what to do; None when that explains nothing."""
    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    try:
        place_ = host.strip("[]"), int(port)
        said = _talk(place_)
        tls = not said and _tls(place_)
        asked = _talk(place_, _QUESTION) if not said and not tls else b""
    except socket.gaierror as error:
        return f"no such host: {host} ({error.strerror})", "correct the address in the site file"
    except ConnectionRefusedError:
        return "nothing listens there (connection refused)", _CHECK
    except (OSError, ValueError) as error:
        return f"no connection: {error}", "check the address in the site file, and firewalls on the way"
    return what(scheme, said, tls=tls, asked=asked)


def _connected(place: tuple[str, int]) -> socket.socket:
    one = socket.create_connection(place, timeout=_LOOK_S * 4)
    one.settimeout(_LOOK_S)
    return one


def _talk(place: tuple[str, int], request: bytes = b"") -> bytes:
    """Return what is said first, or in answer to some words."""
    with _connected(place) as one, suppress(TimeoutError, ConnectionError):
        one.sendall(request)
        return one.recv(512)
    return b""


def _tls(place: tuple[str, int]) -> bool:
    """Say whether it speaks TLS, whoever it is: nothing is told to it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _connected(place) as one:
        try:
            context.wrap_socket(one).close()
        except ssl.SSLError as error:
            return "ALERT" in str(error.reason)
        except OSError:
            return False
    return True


def certificate(address: str) -> bytes:
    """Return the certificate (DER) of who answers with TLS at an address, b"" for nobody: nothing is told to it."""
    host, _, port = address.partition("://")[2].rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with suppress(OSError, ValueError):
        place = host.strip("[]"), int(port)
        with _connected(place) as one, context.wrap_socket(one) as spoken:
            return spoken.getpeercert(binary_form=True) or b""
    return b""


def what(scheme: str, answer: bytes, *, tls: bool, asked: bytes) -> tuple[str, str] | None:
    """Say what it is that `said` this when it was connected to, speaks TLS, or this when `asked` for a web page."""
    other = "name the address of a Dask scheduler in the site file"
    if answer.startswith(b"SSH-"):
        return "an SSH server, not a Dask scheduler", other
    if asked.startswith((b"HTTP/", b"<")):
        return "a web server, not a Dask scheduler", f"{other}: its port, not that of the dashboard"
    if b"pickle-protocol" in answer:  # Dask's greeting
        if scheme == "tls":
            return "a Dask process that does not use TLS", "write tcp:// without tls_ca, or start the cluster with TLS"
        return None
    if tls:
        hint = "write tls:// with tls_ca, tls_cert and tls_key in the site file"
        if scheme == "tcp":
            return ("something that wants TLS, which tcp:// does not use", hint)
        return None
    if answer:
        return "something that does not speak Dask's protocol", other
    if not asked:
        hint = "if the scheduler is busy or stopped, wait; else correct the address in the site file"
        return "something that takes the connection and says nothing", hint
    return "something that does not speak Dask's protocol", other
