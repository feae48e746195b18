"""Storms over nodes that joined, by a seed; `python tests/mesh_storms.py --seeds 300` raises many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mesh_storms import MeshStorm, MeshTemplate, mesh_template

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshTemplate]:
    """Return a coordinator and nodes that storms begin with."""
    with mesh_template(tmp_path_factory.mktemp("storm")) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 5])  # between them kill -9 of server, agent and worker, restarts, and two takeovers
def test_a_storm(template: MeshTemplate, seed: int) -> None:
    """No report is lost, nothing runs twice under one name, and every task ends as it would have."""
    storm = MeshStorm(template, seed)
    storm.run()
    assert storm.counts.total() >= storm.wanted
