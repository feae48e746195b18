"""A server from its first start to its end: keys and tokens, the lines that are printed, and serving until a signal."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.coordinator.commands.takeover import take_over
from nexapod_batch.coordinator.context import account, open_coordinator
from nexapod_batch.coordinator.people import tokens
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.files import open_files, own
from nexapod_batch.server import local_word, tls
from nexapod_batch.server.names import Names, names_of, shown_host
from nexapod_batch.server.service import Options, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexapod_batch.config.settings import Paths

__all__ = ["Announcement", "Serving", "prepare", "serve"]

#: The names of the tokens that `serve --init` shows, and of the one that this account's own programs use.
_SHOWN, _NODES, _OWN = "serve --init", "nodes, serve --init", "this account"
_DAYS = 365.0
_JOIN_DAYS = 30.0
#: Stands for the name of a proxy that nobody told.
_PROXY = "NAME-OF-THE-PROXY"


class Serving(Struct, frozen=True, kw_only=True):
    """How a server is to be, before it is there."""

    paths: Paths
    host: str
    port: int
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    init: bool = False
    standby: bool = False  # it takes over from the coordinator of which its home is a copy
    options: Options = Options()


class Announcement(Struct, frozen=True, kw_only=True):
    """What is told once requests are answered."""

    url: str
    fingerprint: str  # of the key for TLS
    join: str  # the command line with which a node joins
    token: str  # the administrator's; "" where none was made


class Prepared(Struct, frozen=True, kw_only=True):
    """What a server begins with."""

    certificate: Path
    key: Path
    pin: str  # of the TLS key, in base64url
    admin: str = ""  # tokens that are shown once
    join: str = ""
    own: str = ""  # the one that programs of this account on this machine use


def _check(serving: Serving) -> None:
    """Look at what can be wrong before anything is made."""
    if serving.init and serving.standby:
        raise UsageError("--init makes a coordinator, --standby takes one over", hint="leave one of them out")
    if not serving.init and not serving.paths.has_database():
        raise NotFoundError("there is no coordinator here yet", hint="nexapod-batch serve --init makes one")
    if (serving.certificate is None) != (serving.key is None):
        raise UsageError("--tls-cert and --tls-key belong together", hint="give both, or neither for one of its own")


def prepare(serving: Serving) -> Prepared:
    """Make what a server needs, where it is missing; with `init` a home and tokens, too."""
    paths, folder = serving.paths, local_word.folder_of(serving.paths)
    with open_coordinator(paths) as c:
        own.own_folder(folder)
        if serving.standby:
            take_over(c)
        if serving.certificate is not None and serving.key is not None:
            certificate, key = serving.certificate, serving.key
        else:
            certificate, key = tls.make(folder, names_of(serving.host, serving.names))
        pin = tls.pin_of(certificate)
        carried = "" if serving.options.behind_proxy else pin
        admin = join = ""
        if serving.init:
            scope, who = tokens.Scope.ADMIN, _person()
            admin = tokens.new(c, who, scope, days=_DAYS, name=_SHOWN, pin=carried, replace=True)
            join = tokens.new(c, who, tokens.Scope.JOIN, days=_JOIN_DAYS, name=_NODES, pin=carried, replace=True)
        mine = tokens.new(c, _person(), tokens.Scope.ADMIN, days=_DAYS, name=_OWN, pin=carried, replace=True)
    return Prepared(certificate=certificate, key=key, pin=pin, admin=admin, join=join, own=mine)


def _person() -> str:
    """Return this account's name, as far as it can be one of a person."""
    return "".join(letter for letter in account() if letter.isalnum() or letter in "_.@+-").lstrip("_.@+-") or "admin"


def _announced(serving: Serving, prepared: Prepared, url: str) -> Announcement:
    """Return what is told; behind a proxy nodes join that one, whose port and key are not known here."""
    fingerprint = tls.fingerprint(prepared.pin)
    join = f"nexapod-batch node join {url} --fingerprint {fingerprint}"
    if serving.options.behind_proxy:
        name = shown_host(serving.host, serving.names) if serving.names else _PROXY
        join = f"nexapod-batch node join https://{name}"
    if prepared.join:
        join += f" --token {prepared.join}"
    return Announcement(url=url, fingerprint=fingerprint, join=join, token=prepared.admin)


def serve(serving: Serving, say: Callable[[Announcement], None]) -> None:
    """Serve until SIGTERM or SIGINT; `say` hears how others get here, once requests are answered."""
    import uvloop  # noqa: PLC0415 - an extra

    _check(serving)
    with local_word.only_one(serving.paths):  # a second one would take the first one's tokens away
        prepared = prepare(serving)
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # what strangers send is no news
        open_files.raise_limit()
        uvloop.run(_serve(serving, prepared, say))


async def _serve(serving: Serving, prepared: Prepared, say: Callable[[Announcement], None]) -> None:
    from nexapod_batch.server.application import Application  # noqa: PLC0415
    from nexapod_batch.server.listener import WebServer, bind  # noqa: PLC0415
    from nexapod_batch.server.routes import ROUTES  # noqa: PLC0415

    listening = bind(serving.host, serving.port)
    port = listening.getsockname()[1]
    url = f"https://{shown_host(serving.host, serving.names)}:{port}"
    service = Service(serving.paths, Names(names_of(serving.host, serving.names)), serving.options)
    web = WebServer(
        Application(service, ROUTES), listening, tls.context(prepared.certificate, prepared.key),
        behind_proxy=serving.options.behind_proxy,
    )  # fmt: skip
    _leave_word(serving, prepared, url, port)
    service.passes.start()
    web.when_started = lambda: say(_announced(serving, prepared, url))
    web.when_ending = service.end
    try:
        await web.serve()
    finally:
        await service.passes.stop()
        await asyncio.to_thread(service.threads.close)


def _leave_word(serving: Serving, prepared: Prepared, url: str, port: int) -> None:
    pin = "" if serving.options.behind_proxy else prepared.pin
    word = {"url": url, "port": port, "pin": pin, "token": prepared.own, "pid": os.getpid()}
    local_word.leave(serving.paths, word)
