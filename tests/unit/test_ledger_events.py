"""What entries of the ledger look like: one canonical form, small, with a sentence for each kind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger.events import MAX_EVENT, Kind, digest_of, event, imported, parse_event
from nexapod_batch.wording.ledger import described

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "ledger.md"
#: Every field that an entry may have.
FIELDS: dict[str, str | int] = {
    "origin": "o", "key": "k", "was": "w", "launches": 1, "node": "n", "network": "w", "owner": "me", "site": "s", "sha256": "d=", "id": "1",
    "tasks": 2, "replicas": 3, "segment": "x.jsonl", "position": 4, "state": "accepted", "agree": 2, "basis": "rr",
    "validation": "valid", "raised": 1, "replica": 1, "policy": "strict", "uuid": "u", "launch": "l", "inputs": 1, "entry": 7,
    "epoch": 2, "size": 5, "root": "r=", "by": "b",
}  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=40) | st.integers(0, 2**53 - 1)))
def test_an_entry_is_canonical(fields: dict[str, str | int]) -> None:
    """As RFC 8785 has it for texts, whole numbers and ASCII keys; and it is read back as it was."""
    entry = event(Kind.REPORT, 17, **fields)
    kept = {"kind": "report", "time": 17, **fields}
    assert entry == json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert parse_event(entry) == kept


@pytest.mark.parametrize("text", ["x" * 257, "\N{GRINNING FACE}" * 1000, '"' * 5000])
def test_a_long_text_is_cut(text: str) -> None:
    """Others choose names; an entry stays small."""
    entry = event(Kind.REGISTERED, 1, node=text, owner=text, site=text)
    assert len(entry) <= MAX_EVENT
    assert parse_event(entry)["owner"] == text[:256]


def test_what_does_not_fit_is_refused() -> None:
    """Rather than cut in the middle."""
    with pytest.raises(ValueError, match="at most 4096 bytes"):
        event(Kind.REGISTERED, 1, **{f"field{number}": "x" * 256 for number in range(20)})


@pytest.mark.parametrize(
    "entry",
    [
        b"", b"{}", b"[]", b"null", b"1", b'{"kind":"report"}', b'{"time":1}', b'{"kind":1,"time":1}', b'{"kind":"a","time":"1"}',
        b'{"kind":"a","time":true}', b'{"kind":"a","time":1.0}', b'{"kind":"a", "time":1}', b'{"time":1,"kind":"a"}',
        b'{"kind":"a","kind":"b","time":1}', b'{"kind":"a","time":1}\n', b'{"kind":"a","time":1,"x":null}',
        b'{"kind":"a","time":1,"x":[]}', b'{"kind":"a","time":1,"x":{"y":1}}', b'{"kind":"\xff","time":1}', b"[" * 5000,
        b'{"kind":"a","time":NaN}', b'{"kind":"\\u0061","time":1}',
    ],
)  # fmt: skip
def test_what_is_no_entry_is_refused(entry: bytes) -> None:
    """Also what says the same in another form."""
    with pytest.raises(VerificationError, match="not an entry of a ledger"):
        parse_event(entry)


def test_a_digest_is_what_openssl_prints(tmp_path: Path) -> None:
    """In base64."""
    file = tmp_path / "file"
    file.write_bytes(b"\0signed bytes\n")
    raw = subprocess.run(["openssl", "dgst", "-sha256", "-binary", file], capture_output=True, check=True).stdout
    printed = subprocess.run(["base64"], input=raw, capture_output=True, check=True).stdout.decode().strip()
    assert digest_of(file.read_bytes()) == printed


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.IMPORTED])
def test_every_kind_has_a_sentence(kind: Kind) -> None:
    """Known before the ledger began, or not; with fewer fields it is still told."""
    sentence = described(parse_event(event(kind, 1, **FIELDS)))
    assert sentence != described({"kind": "of a newer version", "time": 1, **FIELDS})
    assert "{" not in sentence
    assert described(parse_event(imported(kind, 1, 0, **FIELDS))) == f"known before the ledger began: {sentence}"
    assert described(parse_event(imported(kind, 1, 0))) == f"known before the ledger began: {kind}: since 0"


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_documented(kind: Kind) -> None:
    """In a row of its own."""
    assert f"| `{kind}` |" in REFERENCE.read_text(encoding="utf-8")
