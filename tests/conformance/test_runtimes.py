"""The suite of runtimes on `bare`, with and without bubblewrap, and on Apptainer with a real image."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from apptainer.trees import build_sif, make_tree
from msgspec.structs import replace

from nexapod_batch.entry_points import load
from nexapod_batch.model.job import Container, Isolation
from nexapod_batch.runtimes import RuntimeSettings
from nexapod_batch.testing.runtimes import RuntimeConformance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.runtimes import Execution, Runtime


class TestBare(RuntimeConformance):
    """The command as it is."""

    def runtime(self) -> Runtime:
        """Load it through the entry point."""
        return load("runtime", "bare")


class TestConfined(RuntimeConformance):
    """A command of somebody else's job, confined by the real bubblewrap."""

    isolation = Isolation.FILES

    def runtime(self) -> Runtime:
        """Tell it to confine what is foreign."""
        found: Runtime = load("runtime", "bare")
        found.settle(RuntimeSettings(confine="foreign"))
        return found

    def execution(self, root: str, command: Sequence[str], env: Mapping[str, str]) -> Execution:
        """Say that the job is somebody else's."""
        return super().execution(root, command, env)._replace(foreign=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small image."""
    folder = tmp_path_factory.mktemp("image")
    return build_sif(make_tree(folder / "tree"), folder / "box.sif")


class TestApptainer(RuntimeConformance):
    """The real Apptainer, with an image of one static program."""

    isolation = Isolation.CONTAINER
    image: Path

    @pytest.fixture(autouse=True)
    def _with_image(self, image: Path) -> None:
        self.image = image

    def runtime(self) -> Runtime:
        """Load it through the entry point."""
        found: Runtime = load("runtime", "apptainer")
        found.settle(RuntimeSettings())
        return found

    def execution(self, root: str, command: Sequence[str], env: Mapping[str, str]) -> Execution:
        """Put the job into a container."""
        plain = super().execution(root, command, env)
        digest = hashlib.sha256(self.image.read_bytes()).hexdigest()
        job = replace(plain.job, container=Container(image=str(self.image), sha256=digest))
        return plain._replace(job=job, image=str(self.image), tmp="")
