"""What is at the address of a Dask scheduler, by its first words."""

from __future__ import annotations

import pytest
from nexapod_backends.dask.scheduler.address_diagnosis import what

GREETING = b"\0\0\0\0*\0\0\0\x83\xabcompression\xc0\xa6python\x93\xafpickle-protocol\x05"


@pytest.mark.parametrize(
    ("scheme", "said", "tls", "asked", "words"),
    [
        ("tcp", b"SSH-2.0-OpenSSH_9.2p1\r\n", False, b"", "an SSH server"),
        ("tls", b"", False, b"HTTP/1.0 400 Bad Request\r\n", "a web server"),
        ("tls", GREETING, False, b"", "a Dask process that does not use TLS"),
        ("tcp", b"", True, b"", "something that wants TLS"),
        ("tcp", b"220 mail.example.org ESMTP\r\n", False, b"", "does not speak Dask's protocol"),
        ("tcp", b"", False, b"what?\n", "does not speak Dask's protocol"),
        ("tcp", b"", False, b"", "takes the connection and says nothing"),
    ],
)
def test_it_is_named_and_there_is_something_to_do(scheme: str, said: bytes, tls: bool, asked: bytes, words: str) -> None:
    """Each kind has its words and a hint."""
    found = what(scheme, said, tls=tls, asked=asked)
    assert found is not None
    assert words in found[0]
    assert found[1]


@pytest.mark.parametrize(("scheme", "said", "tls"), [("tcp", GREETING, False), ("tls", b"", True)])
def test_what_fits_explains_nothing(scheme: str, said: bytes, tls: bool) -> None:
    """It is what the site file says; why it cannot be used is told by somebody else."""
    assert what(scheme, said, tls=tls, asked=b"") is None
