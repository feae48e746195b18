"""Who writes: the lock inside a host, the lease between hosts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import asdict

from nexapod_batch.errors import ConfigError, TryAgainError
from nexapod_batch.store import Holder, Store, writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALPHA = Holder("alpha", "boot-a", 1)
BETA = Holder("beta", "boot-b", 2)


def network(_path: Path) -> tuple[str, bool]:
    """Stand in for a network file system, where leases matter."""
    return "lustre", True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a new store on a pretended network file system."""
    with Store.open(tmp_path / "state.db", create=True, filesystem=network) as opened:
        yield opened


def abandon(store: Store, holder: Holder, taken_at: int = 1_000) -> None:
    """Leave a lease behind as a host does that lost its power."""
    store.operations.take_lease(**holder._asdict(), taken_at=taken_at)


def row_of(store: Store) -> dict[str, object]:
    """Return the lease row."""
    row = store.operations.lease()
    assert row is not None
    return asdict(row)


def test_the_lease_is_given_back(store: Store) -> None:
    """After a clean end another host may write at once."""
    with writer(store, holder=ALPHA, now_ms=5):
        assert row_of(store) == {"host": "alpha", "boot": "boot-a", "pid": 1, "taken_at": 5, "released": False}
    assert row_of(store)["released"] is True
    with writer(store, holder=BETA):
        assert row_of(store)["host"] == "beta"


def test_the_lease_is_given_back_after_an_error(store: Store) -> None:
    """A pass that fails does not keep the next host out."""
    with pytest.raises(KeyboardInterrupt), writer(store, holder=ALPHA):
        raise KeyboardInterrupt
    with writer(store, holder=BETA):
        pass


def test_another_hosts_lease_is_respected(store: Store) -> None:
    """The message names the host, since when, and both ways out; nothing is changed, and the lock is free again."""
    abandon(store, ALPHA, taken_at=1_795_431_960_188)
    for _ in range(2):
        message = r"process 1 on alpha, since 2026-11-23 .*UTC[\s\S]*--steal"
        with pytest.raises(TryAgainError, match=message), writer(store, holder=BETA):
            pytest.fail("entered")
    assert row_of(store)["host"] == "alpha"


@pytest.mark.parametrize(
    "successor",
    [Holder("alpha", "boot-a", 9), Holder("alpha", "after-reboot", 9), Holder("renamed", "boot-a", 9)],
    ids=["same boot", "rebooted", "renamed or in a container"],
)
def test_a_dead_holder_of_this_host_is_taken_over(store: Store, successor: Holder) -> None:
    """Inside a host the lock has shown that the holder is gone."""
    abandon(store, ALPHA)
    with writer(store, holder=successor):
        assert row_of(store)["pid"] == 9


def test_unknown_boots_are_not_the_same_boot(store: Store) -> None:
    """Two hosts that cannot say their boot are not taken for one."""
    abandon(store, Holder("alpha", "", 1))
    with pytest.raises(TryAgainError), writer(store, holder=Holder("beta", "", 2)):
        pytest.fail("entered")


def test_a_stolen_lease_stops_its_old_holder(store: Store) -> None:
    """The one who was robbed cannot commit any more, and does not give back what is no longer his."""
    with writer(store, holder=ALPHA, now_ms=1):
        # The other host's lock file is not ours to see: only the row can tell.
        with Store.open(store.path, filesystem=network) as other:
            abandon(other, BETA, taken_at=2)
        with pytest.raises(TryAgainError, match="taken over: got process 2 on beta"), store.atomic():
            pytest.fail("entered")
    assert row_of(store) | {"taken_at": 0} == {"host": "beta", "boot": "boot-b", "pid": 2, "taken_at": 0, "released": False}


def test_steal_takes_an_abandoned_lease(store: Store) -> None:
    """A person may say that the other host is gone."""
    abandon(store, ALPHA)
    with writer(store, holder=BETA, steal=True), store.atomic():
        assert row_of(store)["host"] == "beta"


def test_a_second_writer_on_this_host_is_told_who_writes(store: Store) -> None:
    """The lock is held by another process: its number and host are named, and `steal` does not break the lock."""
    script = (
        "import sys; from pathlib import Path; from nexapod_batch.store import Store, writer\n"
        "store = Store.open(Path(sys.argv[1]), filesystem=lambda _: ('lustre', True))\n"
        "with writer(store):\n    print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        for steal in (False, True):
            with pytest.raises(TryAgainError, match=f"process {process.pid} on "), writer(store, steal=steal):
                pytest.fail("entered")
        assert process.stdin is not None
        process.stdin.close()  # it ends, while we wait for it
        with writer(store, wait_s=30):
            assert row_of(store)["released"] is False


def test_a_lock_file_that_is_a_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    """Nobody can make us truncate another file."""
    target = tmp_path / "precious"
    target.write_text("keep")
    lock = tmp_path / "state.db.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(target)
    with pytest.raises(ConfigError), writer(store):
        pytest.fail("entered")
    assert target.read_text() == "keep"


def test_here_names_this_process() -> None:
    """The same process is the same holder each time."""
    assert Holder.here() == Holder.here()
    assert all(Holder.here())
