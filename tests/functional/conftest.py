"""What several files of functional tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nvml import Driver

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Give a driver with two GPUs."""
    return Driver(tmp_path)
