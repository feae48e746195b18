"""What several files of functional tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bucket_server import BucketServer, bucket_server
from homes import Home, ended
from nvml import Driver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home without nodes; no worker of it is left afterwards."""
    with ended(Home(tmp_path)) as made:
        yield made


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Give a driver with two GPUs."""
    return Driver(tmp_path)


@pytest.fixture
def bucket() -> Iterator[BucketServer]:
    """Yield an empty bucket."""
    with bucket_server() as made:
        yield made
