"""Which machines the `hostnames` of a site mean."""

from __future__ import annotations

import pytest

from nexapod_batch.coordinator.nodes.login_nodes import names_host


@pytest.mark.parametrize(
    ("pattern", "host", "meant"),
    [
        ("login1", "login1", True),
        ("login1", "login2", False),
        ("login*", "login17", True),
        ("login[1-4]", "login3", True),
        ("login[1-4]", "login5", False),
        ("login*.alpha.org", "login1.alpha.org", True),
        ("login*.alpha.org", "login1", True),
        ("login*.alpha.org", "login1.beta.org", False),
        ("login1", "login1.alpha.org", True),
        ("LOGIN1.alpha.org", "Login1", True),
        ("*.alpha.org", "a.alpha.org", True),
        ("*.alpha.org", "laptop", False),
        ("alpha-ln?", "alpha-ln0.cluster", True),
    ],
)
def test_a_pattern_means_a_machine_by_its_long_or_short_name(pattern: str, host: str, *, meant: bool) -> None:
    """Machines know themselves by one of both, and files name either."""
    assert names_host(pattern, host) is meant
