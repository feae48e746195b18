"""`node check`: what works from this machine towards a coordinator, and what it would offer. Nothing is registered."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from nexapod_batch.agent.client import Client, check_url
from nexapod_batch.entry_points import load
from nexapod_batch.errors import NexapodError
from nexapod_batch.hardware import machine
from nexapod_batch.mesh.messages import MOST_WORDS, RUNTIMES
from nexapod_batch.plugins import Finding, Mark
from nexapod_batch.runtimes import RuntimeSettings
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["cannot", "check", "fingerprint_of"]

_CONNECT_S = 10.0
#: Seconds by which clocks may differ before it is worth a word.
_SKEW_S = 60
_MARKS = {"ok": Mark.OK, "warn": Mark.WARN, "fail": Mark.FAIL}
_SHOWN = "its key is "
_PROBES = {"apptainer": "containers", "bare": "confinement"}


def check(url: str, pin: str, folder: Path) -> Iterator[Finding]:
    """Yield what is found out, in the order in which one thing needs the other; UsageError for what is no URL."""
    scheme, host, port = check_url(url)
    reached = True
    for found in (_resolves(host, port), _connects(host, port)):
        yield found
        if found.mark is Mark.FAIL:
            reached = False
            break
    if reached and scheme == "https":
        found = _is_meant(host, port, pin)
        yield found
        reached = found.mark is not Mark.FAIL
        pin = pin or found.text.removeprefix(_SHOWN)  # nothing that is secret is sent
    if reached:
        yield from _answers(url, pin)
    yield from _proxy()
    yield from _offers(folder)


def cannot() -> dict[str, str]:
    """Return why runtimes do not work on this machine: of those that do not."""
    path, found = os.environ.get("PATH", os.defpath), dict[str, str]()
    for name in RUNTIMES:
        runtime = load("runtime", name)
        runtime.settle(RuntimeSettings())
        failed = [fact for fact in runtime.examine(path) if fact.mark == ("warn" if name == "bare" else "fail")]
        if failed:
            found[name] = "; ".join(filter(None, (failed[0].text, failed[0].hint)))[:MOST_WORDS]
    return found


def fingerprint_of(host: str, port: int) -> str:
    """Return the fingerprint of the key that a server shows; OSError where it speaks no TLS."""
    from cryptography import x509  # noqa: PLC0415 - who checks only
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, port), _CONNECT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True) or b""
    public = x509.load_der_x509_certificate(shown).public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(spki).digest()).decode().rstrip("=")


def _resolves(host: str, port: int) -> Finding:
    try:
        addresses = sorted({str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except OSError as error:
        hint = "check the name, or the name servers of this machine"
        return Finding(mark=Mark.FAIL, probe="name", text=f"{host} has no address: {error}", hint=hint)
    return Finding(mark=Mark.OK, probe="name", text=f"{host} is {', '.join(addresses)}")


def _connects(host: str, port: int) -> Finding:
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError as error:
        hint = "is it running, and does a firewall let you out to this port?"
        text = f"no connection to port {port}: {error.strerror or error}"
        return Finding(mark=Mark.FAIL, probe="connection", text=text, hint=hint)
    return Finding(mark=Mark.OK, probe="connection", text=f"port {port} can be reached")


def _is_meant(host: str, port: int, pin: str) -> Finding:
    try:
        shown = fingerprint_of(host, port)
    except (OSError, ValueError) as error:
        hint = "is it a coordinator's port, or something in between?"
        return Finding(mark=Mark.FAIL, probe="tls", text=f"no TLS there: {error}", hint=hint)
    if not pin:
        hint = "compare it with what whoever runs the coordinator tells you, and give it with --fingerprint"
        return Finding(mark=Mark.WARN, probe="tls", text=_SHOWN + shown, hint=hint)
    if pin != shown:
        hint = "something stands in between, or it is another server: do not join"
        return Finding(mark=Mark.FAIL, probe="tls", text=f"its key is {shown}, wanted {pin}", hint=hint)
    return Finding(mark=Mark.OK, probe="tls", text=f"its key is {shown}, as it should be")


def _answers(url: str, pin: str) -> Iterator[Finding]:
    client = Client(url, pin, Signer.from_seed(os.urandom(32)))
    began = time.time()
    try:
        reply = client.ask("GET", "/v1/health")
    except NexapodError as error:
        yield Finding(mark=Mark.FAIL, probe="coordinator", text=error.what, hint=error.hint or "")
        return
    finally:
        client.close()
    took_ms = (time.time() - began) * 1000
    mark = Mark.OK if reply.status == 200 else Mark.WARN
    yield Finding(mark=mark, probe="coordinator", text=f"it answers {reply.status} in {took_ms:.0f} ms")
    try:
        ahead = parsedate_to_datetime(reply.headers.get("date", "")).timestamp() - began
    except (ValueError, TypeError):
        return
    if abs(ahead) > _SKEW_S:
        hint = "set it: statements carry this machine's time, and two days off they count for nothing"
        yield Finding(mark=Mark.WARN, probe="clock", text=f"it is {-ahead:+.0f} s off the coordinator's", hint=hint)
    else:
        yield Finding(mark=Mark.OK, probe="clock", text="it agrees with the coordinator's")


def _proxy() -> Iterator[Finding]:
    named = [name for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY") if os.environ.get(name)]
    if named:
        text, hint = f"{named[0]} is set, and not used: the connection goes straight out", "open the port, or unset it"
        yield Finding(mark=Mark.WARN, probe="proxy", text=text, hint=hint)


def _offers(folder: Path) -> Iterator[Finding]:
    """Yield what this machine could run, and what it would offer."""
    path = os.environ.get("PATH", os.defpath)
    for name, probe in _PROBES.items():
        runtime = load("runtime", name)
        runtime.settle(RuntimeSettings())
        for fact in runtime.examine(path):
            yield Finding(mark=_MARKS.get(fact.mark, Mark.WARN), probe=probe, text=fact.text, hint=fact.hint)
    profile, faults = machine.take(folder)
    gpus = ", ".join(gpu.model for gpu in profile.devices) or "no GPU"
    text = f"{profile.cpu.usable} CPUs ({profile.cpu.microarchitecture}), {profile.memory_mib} MiB, {gpus}"
    yield Finding(mark=Mark.OK, probe="offer", text=text)
    for fault in faults:
        yield Finding(mark=Mark.WARN, probe="offer", text=fault)
