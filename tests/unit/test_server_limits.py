"""How often somebody may ask, and who counts as one."""

from __future__ import annotations

import pytest

from nexapod_batch.server.limits import Buckets, address_group
from nexapod_batch.server.names import Names


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_bucket_is_emptied_and_fills_again() -> None:
    """So many at once, then as many as the rate says."""
    clock = Clock()
    buckets = Buckets(2.0, 3, clock)
    assert [buckets.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait_s("b") == 0
    clock.now += 0.5
    assert buckets.wait_s("a") == 0
    assert buckets.wait_s("a") == 0.5
    clock.now += 1000
    assert [buckets.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_fine_goes_below_nothing_but_not_for_ever() -> None:
    """At most as far as the bucket is deep."""
    buckets = Buckets(1.0, 10, Clock())
    for _ in range(100):
        buckets.fine("a", 20)
    assert buckets.wait_s("a") == 11


def test_names_are_not_remembered_without_end() -> None:
    """Those that were quiet longest are forgotten."""
    buckets = Buckets(1.0, 2, Clock())
    for number in range(30_000):
        buckets.wait_s(str(number))
    assert len(buckets) == 20_000
    assert buckets.wait_s("29999") == 0
    assert buckets.wait_s("29999") == 1


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_who_counts_as_one(address: str, group: str) -> None:
    """An IPv6 network of one person is one, and so is an address however it is written."""
    assert address_group(address) == group


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("lab.example", True),
        ("LAB.example.:5000", True),
        ("10.0.0.1:5000", True),
        ("[2001:db8::1]:5000", True),
        ("[2001:db8::1]", True),
        ("evil.example", False),
        ("lab.example.evil.example", False),
        ("lab.example:port", False),
        ("lab.example:99999", False),
        ("2001:db8::1", False),
        ("[2001:db8::1", False),
        ("", False),
        ("0x7f.1", False),
    ],
)
def test_which_hosts_are_ours(host: str, ours: bool) -> None:
    """Names that are known, and every address as it is usually written."""
    assert Names(["lab.example"]).is_ours(host) is ours
