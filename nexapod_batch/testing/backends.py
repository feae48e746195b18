"""What every backend must do; a subclass says which one, and how its nodes are ended. pytest runs it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.coordinator.backend_guard import load_guarded
from nexapod_batch.model.job import Job
from nexapod_batch.plugins import BackendState, Mark, Probing, names
from nexapod_batch.spool import layout
from nexapod_batch.testing.node import House, until
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.plugins import Backend, Launch

__all__ = ["TRUE", "BackendConformance"]

TRUE = Job(name="t", command=("true",))


class BackendConformance:
    """The suite. A subclass says which backend; its node lies in the temporary folder."""

    name: str
    keeps: frozenset[str] = frozenset()  # folders in which something of a launch stays for as long as its worker

    @pytest.fixture
    def house(self, tmp_path: Path) -> Iterator[House]:
        """Give a node of this backend; processes that it started are ended afterwards."""
        made = House(tmp_path)
        yield made
        self.end(made)

    @pytest.fixture
    def backend(self) -> Backend:
        """Load the backend through the entry point; its answers are checked as the coordinator does."""
        return load_guarded(self.name)

    def end(self, house: House) -> None:
        """Stop whatever the backend started for this node."""
        raise NotImplementedError

    def state(self, backend: Backend, house: House, launch: Launch) -> BackendState:
        """Return the state of one launch."""
        return backend.status(house.context(), [launch.key])[launch.key].state

    def ended(self, backend: Backend, house: House, *launches: Launch) -> None:
        """Wait until all launches are completed."""
        until(
            lambda: all(self.state(backend, house, one) is BackendState.COMPLETED for one in launches),
            "all launches to complete",
        )

    def blocking(self, house: House, replicas: int = 1) -> tuple[Launch, Path]:
        """Return a launch that runs until the returned file exists."""
        go = house.home / "go"
        script = f"touch {house.home}/at.$NEXAPOD_TASK; while [ ! -e {go} ]; do sleep 0.02; done"
        return house.launch(Job(name="t", script=script), replicas), go

    def test_it_is_found_by_its_name(self) -> None:
        """The backend is listed among the installed plug-ins."""
        assert self.name in names("backend")

    def test_launches_run_and_complete(self, backend: Backend, house: House) -> None:
        """Each launch gets a native id, ends as COMPLETED, and every replica is reported."""
        launches = [house.launch(TRUE, 3, job_id=number) for number in (1, 2)]
        native = backend.launch(house.context(), launches)
        assert set(native) == {one.key for one in launches}
        assert all(native.values())
        self.ended(backend, house, *launches)
        assert len(house.reports()) == 6

    def test_the_same_launch_runs_once(self, backend: Backend, house: House) -> None:
        """A call that is repeated, at once or after the end, starts nothing twice."""
        launch = house.launch(TRUE)
        backend.launch(house.context(), [launch])
        backend.launch(house.context(), [launch])
        self.ended(backend, house, launch)
        backend.launch(house.context(), [launch])
        self.ended(backend, house, launch)
        assert len(house.reports()) == 1

    def test_what_was_never_launched_is_unknown(self, backend: Backend, house: House) -> None:
        """A key that the backend never saw is UNKNOWN; asking for nothing returns nothing."""
        assert self.state(backend, house, house.launch(TRUE)) is BackendState.UNKNOWN
        assert dict(backend.status(house.context(), [])) == {}

    def test_what_runs_is_active(self, backend: Backend, house: House) -> None:
        """A launch is ACTIVE while one of its replicas runs."""
        launch, go = self.blocking(house)
        backend.launch(house.context(), [launch])
        until((house.home / "at.0").exists, "the command to start")
        assert self.state(backend, house, launch) is BackendState.ACTIVE
        go.touch()
        self.ended(backend, house, launch)

    def test_a_claim_that_is_being_written_is_that_of_who_lives(self, backend: Backend, house: House) -> None:
        """Between its making and its content a claim names nobody: the runner is not called dead for it."""
        launch, go = self.blocking(house)
        backend.launch(house.context(), [launch])
        until((house.home / "at.0").exists, "the command to start")
        (claim,) = house.home.rglob(f"claims/{launch.key}")
        claim.write_bytes(b"")
        assert self.state(backend, house, launch) is BackendState.ACTIVE
        go.touch()
        self.ended(backend, house, launch)

    def test_a_replica_is_cancelled(self, backend: Backend, house: House) -> None:
        """The replica named is stopped and reported as cancelled; its neighbour is not touched."""
        launch, go = self.blocking(house, 2)
        backend.launch(house.context(), [launch])
        until(lambda: (house.home / "at.0").exists() and (house.home / "at.1").exists(), "both commands to start")
        backend.cancel(house.context(), {launch.key: ["1_0.1"]})
        until(house.reports, "the report of the cancelled replica")
        go.touch()
        self.ended(backend, house, launch)
        assert [one.statement.outcome for one in house.reports()] == [Outcome.CANCELLED, Outcome.OK]

    def test_a_launch_is_cancelled(self, backend: Backend, house: House) -> None:
        """Everything of the launch is stopped, what had not started as well."""
        launch, _ = self.blocking(house, 6)
        backend.launch(house.context(), [launch])
        until((house.home / "at.0").exists, "a command to start")
        backend.cancel(house.context(), {launch.key: None})
        self.ended(backend, house, launch)
        assert [one.statement.outcome for one in house.reports()] == [Outcome.CANCELLED] * 6

    def test_cancelling_what_ended_is_nothing(self, backend: Backend, house: House) -> None:
        """A cancellation that comes late, or names what is not there, changes nothing."""
        launch = house.launch(TRUE)
        backend.launch(house.context(), [launch])
        self.ended(backend, house, launch)
        backend.cancel(house.context(), {launch.key: None, "f" * 32: None})
        assert self.state(backend, house, launch) is BackendState.COMPLETED
        assert [one.statement.outcome for one in house.reports()] == [Outcome.OK]

    def test_a_bundle_of_a_stranger_fails(self, backend: Backend, house: House) -> None:
        """A bundle that the runner refuses is FAILED with the reason, not UNKNOWN."""
        launch = house.launch(TRUE, signer=Signer.from_seed(b"s" * 32))
        backend.launch(house.context(), [launch])
        until(lambda: self.state(backend, house, launch) is BackendState.FAILED, "the launch to fail")
        assert "signature" in backend.status(house.context(), [launch.key])[launch.key].reason
        assert house.reports() == []

    def test_forgetting_removes_every_trace(self, backend: Backend, house: House) -> None:
        """After `forget` only what forbids to run it is left, after `expire` not even that; both may be repeated."""
        launch = house.launch(TRUE)
        backend.launch(house.context(), [launch])
        self.ended(backend, house, launch)
        backend.forget(house.context(), [launch.key])
        backend.forget(house.context(), [launch.key])
        assert self.state(backend, house, launch) in {BackendState.UNKNOWN, BackendState.FAILED}
        assert {one.parent.name for one in house.home.rglob(f"{launch.key}*")} <= {layout.SPENT}
        backend.expire(house.context(), [launch.key])
        backend.expire(house.context(), [launch.key])
        assert {one.parent.name for one in house.spool.rglob(f"{launch.key}*")} <= self.keeps

    def test_a_launch_that_was_forgotten_is_not_run_again(self, backend: Backend, house: House) -> None:
        """Not by its bundle and its key, handed over once more: whoever does so has an old database."""
        ran = house.home / "ran"
        launch = house.launch(Job(name="t", script=f"echo >> {ran}"))
        backend.launch(house.context(), [launch])
        self.ended(backend, house, launch)
        backend.forget(house.context(), [launch.key])
        backend.launch(house.context(), [launch])
        over = {BackendState.FAILED, BackendState.COMPLETED}
        until(lambda: self.state(backend, house, launch) in over, "the launch to end")
        assert ran.read_text() == "\n"

    def test_a_launch_can_be_described(self, backend: Backend, house: House) -> None:
        """The description names the node and the command, and launches nothing."""
        text = backend.describe(house.context(), Job(name="t", command=("echo", "a b")), 3)
        assert "testnode" in text
        assert "echo 'a b'" in text
        assert list((house.spool / layout.INBOX).iterdir()) == []

    def test_the_rest_of_the_port_answers(self, backend: Backend, house: House) -> None:
        """Each other method may be called where there is nothing to do, again and again; a dry probe calls nothing."""
        context, file = house.context(), house.home / "input"
        file.write_bytes(b"input")
        digest = hashlib.sha256(b"input").hexdigest()
        how = Probing(sample=TRUE, jobs=False, dry_run=True, timeout_s=1, tell=lambda _: None)
        for _ in range(2):
            assert backend.launch_size(context, TRUE, 3) >= 1
            assert set(backend.stage(context, {digest: file})) == {digest}
            assert backend.unstage(context, [digest]) == 0
            backend.collect(context)
            backend.change_token(context)
            backend.discard(context, ["none.jsonl"])
            backend.remove(context, ["1_0.9"])
            backend.expire(context, ["f" * 32])
            assert all(finding.mark is not Mark.FAIL for finding in backend.probe([context], how))
