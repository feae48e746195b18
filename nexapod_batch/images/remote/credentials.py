"""Logins of registries, from where Apptainer and Docker keep them. Nothing is ever written, or asked for."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["login_for"]

#: What Docker calls its Hub in its file of logins.
_HUB = {"registry-1.docker.io": ("https://index.docker.io/v1/", "docker.io", "index.docker.io")}


def login_for(host: str, environ: Mapping[str, str]) -> str:
    """Return `user:password` for a registry, or "" where no place names one.

    Places: `APPTAINER_DOCKER_USERNAME` and `_PASSWORD`, then the file of `apptainer registry login`, that of podman
    and that of `docker login`. Helpers that keep a login elsewhere are not asked.
    """
    for prefix in ("APPTAINER", "SINGULARITY"):
        user, password = (environ.get(f"{prefix}_DOCKER_{part}", "") for part in ("USERNAME", "PASSWORD"))
        if user and password:
            return f"{user}:{password}"
    for file in _files(environ):
        try:
            known = json.loads(file.read_bytes())["auths"]
            for name in (host, f"https://{host}", *_HUB.get(host, ())):
                if secret := known.get(name, {}).get("auth"):
                    return base64.b64decode(secret).decode()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return ""


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    yield home / ".apptainer" / "docker-config.json"
    yield home / ".singularity" / "docker-config.json"
    if runtime := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(runtime)
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker", "config.json")
