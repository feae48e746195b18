"""Programs of outsiders in Go, built with Debian's packages alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["ledger_checker"]

SOURCE = Path(__file__).parent / "outsiders" / "ledger.go"


def ledger_checker(folder: Path) -> Path:
    """Build what reads a published ledger with Go's own note and tlog packages; return the program."""
    built = folder / "check"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache")}
    subprocess.run(["go", "build", "-o", built, SOURCE], env=env, check=True)
    return built
