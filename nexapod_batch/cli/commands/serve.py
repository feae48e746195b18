"""`serve`: the coordinator over HTTPS, in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.context import json_option, paths
from nexapod_batch.errors import ConfigError

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document

__all__ = ["serve"]


@click.command()
@click.option("--init", is_flag=True, help="Make what is missing (keys, certificate, tokens), and show the tokens.")
@click.option("--standby", is_flag=True, help="Take over from the coordinator of which this home is a copy.")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 - nodes come
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="Port; 0 for a free one.")
@click.option("--name", "names", multiple=True, help="A name by which others reach this server; the first is shown.")
@click.option("--tls-cert", type=click.Path(path_type=Path), shell_complete=complete.files, help="Certificate (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path), shell_complete=complete.files, help="Its private key.")
@click.option("--behind-proxy", is_flag=True, help="A proxy on this machine speaks TLS: believe its X-Forwarded-For.")
@click.option(
    "--rate", type=click.FloatRange(min=0.1), default=50.0, show_default=True,
    help="Requests of one address, and of one token, each second; eight times as many at once.",
)  # fmt: skip
@click.option(
    "--open-jobs", type=click.IntRange(1), default=1_000, show_default=True, help="Jobs that a person may have open."
)
@click.option(
    "--open-tasks", type=click.IntRange(1), default=1_000_000, show_default=True, help="Tasks of these in all."
)
@click.option("--approve-owners", is_flag=True, help="New owners of nodes wait for owner approve, with any token.")
@click.option("--public", is_flag=True, help="Let anybody see status and nodes; jobs stay private.")
@click.option("--unit", is_flag=True, help="Print a systemd user unit that serves with these options, and end.")
@json_option
def serve(
    init: bool, standby: bool, host: str, port: int, names: tuple[str, ...], tls_cert: Path | None,
    tls_key: Path | None, behind_proxy: bool, rate: float, open_jobs: int, open_tasks: int, approve_owners: bool,
    public: bool, unit: bool, as_json: bool,
) -> None:  # fmt: skip
    """Serve this coordinator to people and nodes elsewhere.

    Prints its URL, the line with which a node joins, and with --init the administrator's token, which is shown this
    once; then it serves until it is stopped (Ctrl-C, SIGTERM). With --standby a new epoch begins first, which nodes
    follow; the former leader is no longer heard.
    """
    from nexapod_batch.cli.rendering.render import output
    if unit:
        output(as_json).lines("unit", _unit(sys.argv[1:]))
        return
    from nexapod_batch.requirements import absent, install_command

    missing = absent(["httptools", "prometheus_client", "starlette", "uvicorn", "uvloop"])
    if missing:
        got, hint = f"no {', '.join(missing)}", install_command(missing)
        raise ConfigError("the packages of a server are not installed", got=got, hint=hint)
    from nexapod_batch.coordinator.people.quotas import Quota
    from nexapod_batch.server import serving
    from nexapod_batch.server.service import Options

    quota = Quota(open_jobs=open_jobs, open_tasks=open_tasks)
    wish = serving.Serving(
        paths=paths(), host=host, port=port, names=names, certificate=tls_cert, key=tls_key, init=init,
        standby=standby,
        options=Options(
            public=public, behind_proxy=behind_proxy, rate=rate, quota=quota, approve_owners=approve_owners
        ),
    )  # fmt: skip

    def say(there: serving.Announcement) -> None:
        document = {"url": there.url, "fingerprint": there.fingerprint, "join": there.join, "token": there.token}
        output(as_json).document(document, _lines)

    serving.serve(wish, say)


def _lines(document: Document) -> list[str]:
    token = document["token"]
    return [document["url"], document["join"], *([token] if token else [])]


def _unit(arguments: list[str]) -> list[str]:
    """Return the lines of a unit that serves as these arguments say."""
    from nexapod_batch.local_nodes.unit_file import quoted

    program = os.path.abspath(sys.argv[0])
    left_out = {"--unit", "--init", "--standby", "--json"}
    command = [program, *(word for word in arguments if word not in left_out)]
    home = os.environ.get("NEXAPOD_HOME")
    return [
        "[Unit]",
        "Description=nexapod-batch server",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart=:/usr/bin/env {' '.join(map(quoted, command))}",
        f"Environment={quoted('PATH=' + os.environ.get('PATH', os.defpath))}",
        *([f"Environment={quoted('NEXAPOD_HOME=' + home)}"] if home else []),
        "WorkingDirectory=/",
        "Restart=always",
        "RestartSec=2",
        "KillMode=mixed",
        "TimeoutStopSec=45",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
