"""Launches of a job whose document grows: few of them, and each replica has what its own form of the document says."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from nexapod_backends.local import LAUNCHES_PER_SLOT, LocalBackend
from spools import DEADLINE_S, House

from nexapod_batch.model.document import canonical, digest, to_document
from nexapod_batch.model.job import Array, Elements, Input, Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCES = (Input(source="job:1_{task}/x", target="x", sha256=""),)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node with two CPUs."""
    made = House(tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize(
    ("elements", "tasks", "replicas", "size"),
    [
        pytest.param(None, 1000, 31, 1, id="all inputs are known: as what is placed now asks for"),
        pytest.param(None, 1000, 1000, 32, id="all of them at once"),
        pytest.param(SOURCES, 1000, 31, 32, id="element by element: as if all came at once"),
        pytest.param(SOURCES, 1000, 2, 32, id="however few there are"),
        pytest.param(SOURCES, 4, 2, 1, id="of a small job each slot gets something"),
        pytest.param(SOURCES, 10, 40, 2, id="more replicas than tasks"),
    ],
)
def test_how_many_replicas_share_a_launch(
    house: House, elements: tuple[Input, ...] | None, tasks: int, replicas: int, size: int
) -> None:
    """Each launch carries the whole document: where tasks come in small parts these do not become smaller launches."""
    assert (house.cpus, LAUNCHES_PER_SLOT) == (2, 16)
    job = Job(name="j", command=("true",), array=Array(ranges=((0, tasks - 1, 1),)))
    if elements is not None:
        job = replace(job, elements=Elements(sources=elements))
    assert LocalBackend().launch_size(house.context(), job, replicas) == size


def test_launches_of_several_forms_have_their_own_inputs(house: House, tmp_path: Path) -> None:
    """One worker runs forms 1, 2, 1 again, and more other ones than it keeps: contents and digests are each form's."""
    wanted: dict[int, tuple[str, str, bytes]] = {}
    for number in (1, 2, 1, 3, 4, 5, 6, 1):
        content = f"form {number}\n".encode()
        sha256 = hashlib.sha256(content).hexdigest()
        path = tmp_path / sha256
        path.write_bytes(content)
        job = Job(name="j", command=("cat", "x"), inputs=(Input(f"job:1_{number}/x", "x", sha256),))
        launch = house.launch(job, job_id=len(wanted) + 1, paths={sha256: str(path)})
        house.put(launch)
        wanted[len(wanted) + 1] = digest(canonical(to_document(job))), sha256, content
    assert house.start().wait(timeout=DEADLINE_S) == 0, house.log()
    got = {}
    for report in house.reports():
        said = report.statement
        assert report.carried is not None
        ((_, sha256),) = said.inputs
        got[said.replica.job] = said.job_digest, sha256, report.carried["stdout"]
    assert got == wanted
