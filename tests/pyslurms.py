"""The fake pyslurm, put where a test's own process finds it, and with it the child that it starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["install"]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install it in a folder of packages of its own; return the file that says what the controller knows."""
    packages = folder / "packages"
    shutil.copytree(Path(__file__).parent / "fakes" / "pyslurm", packages / "pyslurm")
    monkeypatch.syspath_prepend(str(packages))
    return packages / "pyslurm.json"
