"""Messages of errors, and the last one of a log."""

from __future__ import annotations

import pytest

from nexapod_batch.errors import ConfigError, DescriptorError, Problem, last_message

LONG = ConfigError("the key is another one", got="A", wanted="B", hint="put it back")
MANY = DescriptorError("it cannot be used: 2 problems", problems=(Problem("a.b", "no"), Problem("c", "no either", 3)))


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one line", "one line"),
        ("before\nlast\n", "last"),
        (f"started\n{LONG}\n", "the key is another one: got A, wanted B -> put it back"),
        (f"started\n{MANY}\n", "it cannot be used: 2 problems a.b: no line 3: c: no either"),
        (f"{MANY}\n{LONG}", "the key is another one: got A, wanted B -> put it back"),
        ("  only what is indented\n  twice", "only what is indented twice"),
    ],
)
def test_the_last_message_is_whole(log: str, expected: str) -> None:
    """What was got, wanted, and the next step belong to it; what stands before does not."""
    assert last_message(log) == expected
