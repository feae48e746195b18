"""The coordinator's side of a node that joined: leases, segments in pieces, blobs, and what a node may not say."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexapod_batch.errors import UsageError, VerificationError
from nexapod_batch.mesh import lease, messages
from nexapod_batch.mesh.blobs import OffsetError, Upload
from nexapod_batch.mesh.lease import Facts
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.mesh.messages import Bundle, Lines, Message, Said, WorkCall
from nexapod_batch.mesh.segments import keep_lines
from nexapod_batch.model.replica import Assignment
from nexapod_batch.model.replica import Bundle as SignedBundle
from nexapod_batch.trust.bundle import BUNDLE_TYPE, encode_bundle
from nexapod_batch.trust.dsse import Signer, seal

if TYPE_CHECKING:
    from pathlib import Path

NODE, COORDINATOR = Signer.from_seed(b"n" * 32), Signer.from_seed(b"c" * 32)
KNOWN = {COORDINATOR.key_id: COORDINATOR.public}
LAUNCH, SEED = "ab" * 16, b"s" * 32
POLL = "0" * 32


def test_what_waits_is_taken_back_but_for_some_launches(tmp_path: Path) -> None:
    """As where another database knows only of these."""
    box = Mailbox(tmp_path / "spool")
    box.make()
    keys = ["a" * 32, "b" * 32]
    for name in (*(f"launch-{key}" for key in keys), "discard-1", "forget-2"):
        box.put(Message(name=name))
    box.withdraw_all_but(keys[:1])
    assert [one.name for one in box.look()] == [f"launch-{keys[0]}"]


def state(**changes: object) -> tuple[str, str]:
    """Return what a launch is that the node has, where some facts are otherwise; and the code of the reason."""
    facts = {"waits": False, "given": True, "said": "ACTIVE", "reason": "", "code": "", "silent_s": 1.0, **changes}
    found = lease.state_of(Facts(**facts))  # type: ignore[arg-type]
    return found.state, found.code


LATE = lease.SILENT_S + 1
STATES = {
    "nobody has it": ({"given": False, "said": ""}, ("UNKNOWN", "")),
    "in the outbox": ({"waits": True, "given": False, "said": ""}, ("QUEUED", "")),
    "for a node that never called": ({"waits": True, "given": False, "said": "", "silent_s": None}, ("QUEUED", "agent.waits")),
    "for a node that is paused": (
        {"waits": True, "given": False, "said": "", "paused": "is snoozed"}, ("QUEUED", "agent.waits"),
    ),
    "for a node that is silent": ({"waits": True, "given": False, "said": "", "silent_s": LATE}, ("QUEUED", "agent.silent")),
    "acknowledged": ({"said": ""}, ("QUEUED", "")),
    "it runs": ({}, ("ACTIVE", "")),
    "it ended": ({"said": "COMPLETED"}, ("COMPLETED", "")),
    "it ended, then silence": ({"said": "COMPLETED", "silent_s": LATE}, ("COMPLETED", "")),
    "it runs on a node that is silent": ({"silent_s": LATE}, ("FAILED", "agent.silent")),
    "acknowledged, then silence": ({"said": "", "silent_s": LATE}, ("FAILED", "agent.silent")),
    "the node left": ({"left": True}, ("FAILED", "agent.left")),
    "the node left before it took it": ({"waits": True, "given": False, "said": "", "left": True}, ("FAILED", "agent.left")),
    "it ended, then the node left": ({"said": "COMPLETED", "left": True}, ("COMPLETED", "")),
    "the node lost it": ({"said": "UNKNOWN"}, ("FAILED", "agent.unknown")),
    "a word without an acknowledgement": ({"waits": True, "given": False, "said": "COMPLETED"}, ("QUEUED", "")),
}


@pytest.mark.parametrize(("changes", "wanted"), STATES.values(), ids=STATES)
def test_what_a_launch_is(changes: dict[str, object], wanted: tuple[str, str]) -> None:
    """A lease begins with the acknowledgement, and ends with the node's word or its silence."""
    assert state(**changes) == wanted


def bundle(**changes: object) -> Bundle:
    """Return a launch as the coordinator puts it into the outbox."""
    subkey = Signer.from_seed(SEED)
    fields: dict[str, object] = {
        "launch": LAUNCH, "audience": NODE.key_id, "not_after": 2_000_000_000, "job_id": 1, "job_uuid": "u",
        "document": b"{}", "input_paths": {}, "subkey": subkey.key_id,
        "replicas": (Assignment(task=0, number=1, nonce="1" * 32, parameters={}),), **changes,
    }  # fmt: skip
    sealed = seal(COORDINATOR, BUNDLE_TYPE, encode_bundle(SignedBundle(**fields)))  # type: ignore[arg-type]
    return Bundle(launch=LAUNCH, envelope=sealed.decode(), seed=SEED.hex())


@pytest.fixture
def box(tmp_path: Path) -> Mailbox:
    """Return the mailbox of a node, with one launch in it."""
    made = Mailbox(tmp_path / "spool" / "one")
    made.make()
    made.put(Message(name=f"launch-{LAUNCH}", bundle=bundle()))
    return made


def taking(**changes: object) -> WorkCall:
    """Return the call by which a node takes its launch."""
    from nexapod_batch.mesh.delegating import delegation_message, opened_bundle

    opened = opened_bundle(bundle().envelope.encode(), KNOWN, NODE.key_id)
    signature = NODE.sign(delegation_message(opened, SEED)).hex()
    fields: dict[str, object] = {
        "poll": POLL, "acknowledged": (f"launch-{LAUNCH}",), "delegations": {LAUNCH: signature}, **changes
    }  # fmt: skip
    return WorkCall(**fields)  # type: ignore[arg-type]


def test_a_message_stays_until_it_is_acknowledged(box: Mailbox) -> None:
    """A lost answer is answered again; a lease begins with the acknowledgement, and beginning it twice changes nothing."""
    again = [one.name for _ in range(2) for one in box.look()]
    before = (box.waits(LAUNCH), box.has(LAUNCH))
    for _ in range(2):
        box.take(taking(), NODE.public, KNOWN, 1.0)
    assert (again, before) == ([f"launch-{LAUNCH}"] * 2, (True, False))
    assert (box.look(), box.waits(LAUNCH), box.has(LAUNCH)) == ((), False, True)
    box.put_bundle(Message(name=f"launch-{LAUNCH}", bundle=bundle()), LAUNCH)
    assert box.look() == ()


@pytest.mark.parametrize("left", [b"", b"\0" * 100, b'{"name":"launch-'], ids=["nothing", "zeros", "its beginning"])
def test_a_launch_that_a_power_cut_took_is_put_again(box: Mailbox, left: bytes) -> None:
    """Of a file that did not reach the disk there may be a name: it is no message, and nobody's acknowledgement counts."""
    path = box.spool / "outbox" / f"launch-{LAUNCH}"
    path.write_bytes(left)
    assert box.look() == ()
    path.write_bytes(left)
    box.take(taking(), NODE.public, KNOWN, 1.0)
    assert (box.waits(LAUNCH), box.has(LAUNCH)) == (False, False)
    box.put_bundle(Message(name=f"launch-{LAUNCH}", bundle=bundle()), LAUNCH)
    assert [one.name for one in box.look()] == [f"launch-{LAUNCH}"]


def test_a_launch_that_a_node_never_runs_is_over(box: Mailbox) -> None:
    """It says why, once and for all; of a launch that does not wait there nothing is kept."""
    call = WorkCall(poll=POLL, refused={LAUNCH: "another coordinator's", "cd" * 16: "x", "../../x": "x"})
    for _ in range(2):
        box.take(call, NODE.public, KNOWN, 1.0)
    said = box.said(LAUNCH)
    assert said is not None
    assert (said.state, said.reason, said.code) == ("FAILED", "another coordinator's", "agent.refused")
    assert (box.look(), box.has("cd" * 16)) == ((), False)


UNSIGNED = {
    "nothing": {},
    "no hex": {LAUNCH: "zz"},
    "another key's": {LAUNCH: COORDINATOR.sign(b"x").hex()},
    "a short one": {LAUNCH: "00" * 63},
}


@pytest.mark.parametrize("signed", UNSIGNED.values(), ids=UNSIGNED)
def test_a_launch_is_not_taken_without_the_nodes_signature(box: Mailbox, signed: dict[str, str]) -> None:
    """What its key will say counts for the node only where the node said so."""
    with pytest.raises(VerificationError):
        box.take(taking(delegations=signed), NODE.public, KNOWN, 1.0)
    assert (box.waits(LAUNCH), box.has(LAUNCH)) == (True, False)


def test_what_is_said_of_a_launch(box: Mailbox) -> None:
    """Only of one that the node took; a settled word stays."""
    words = [Said(state="COMPLETED"), Said(state="ACTIVE"), Said(state="COMPLETED", reason="x"), Said(state="ACTIVE")]
    box.take(WorkCall(poll=POLL, launches={LAUNCH: words[0]}), NODE.public, KNOWN, 1.0)
    before = box.said(LAUNCH)
    box.take(taking(), NODE.public, KNOWN, 1.0)
    for word in words[1:]:
        box.take(WorkCall(poll=POLL, launches={LAUNCH: word}), NODE.public, KNOWN, 1.0)
    assert (before, box.said(LAUNCH)) == (None, words[2])


HOSTILE_CALLS = {
    "a state that is none": {"launches": {LAUNCH: Said(state="DONE")}},
    "a launch that is none": {"launches": {"../../x": Said(state="ACTIVE")}},
    "a segment elsewhere": {"lines": (Lines(segment="../../state.db", at=0, text="x\n"),)},
    "a segment that is hidden": {"lines": (Lines(segment=".x.jsonl/..", at=0, text="x\n"),)},
    "half a line": {"lines": (Lines(segment="a-1.jsonl", at=0, text="x"),)},
    "before the beginning": {"lines": (Lines(segment="a-1.jsonl", at=-1, text="x\n"),)},
}


@pytest.mark.parametrize("said", HOSTILE_CALLS.values(), ids=HOSTILE_CALLS)
def test_what_no_agent_says_is_refused(box: Mailbox, said: dict[str, object]) -> None:
    """Nothing of it is kept."""
    before = sorted(path.name for path in box.spool.parent.rglob("*"))
    with pytest.raises(VerificationError):
        box.take(WorkCall(poll=POLL, **said), NODE.public, KNOWN, 1.0)  # type: ignore[arg-type]
    assert sorted(path.name for path in box.spool.parent.rglob("*")) == before


FORMS = {
    "poll": {"poll": "../x"},
    "acknowledged": {"acknowledged": ("../../state.db",)},
    "acknowledged, absolute": {"acknowledged": ("/etc/passwd",)},
    "folder": {"folder": "x/y"},
    "folder with a newline": {"folder": "/x\n/y"},
    "no epoch": {"epoch": 0},
    "an epoch before all": {"epoch": -1},
    "a time that is over": {"wait_s": -0.5},
    "too many": {"acknowledged": ("a-b",) * 10_001},
    "too much": {"lines": (Lines(segment="a-1.jsonl", at=0, text="x" * (messages.MAX_LINES + 1)),)},
}


@pytest.mark.parametrize("change", FORMS.values(), ids=FORMS)
def test_a_call_of_another_form_is_refused(change: dict[str, object]) -> None:
    """Names become names of files: one form, and bounds."""
    with pytest.raises(VerificationError):
        messages.check_call(WorkCall(**{"poll": POLL, **change}))  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("ab", max_size=5), max_size=8), st.data())
def test_a_segment_arrives_whole(tmp_path_factory: pytest.TempPathFactory, lines: list[str], data: st.DataObject) -> None:
    """Whatever is sent twice, late or out of order, what is kept is a beginning of the node's own bytes; in the end all."""
    spool = tmp_path_factory.mktemp("spool")
    (spool / "reports").mkdir()
    text = "".join(f"{line}\n" for line in lines)
    ends = [0, *[at + 1 for at, letter in enumerate(text) if letter == "\n"]]
    kept = 0
    for _ in range(6):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.sampled_from([one for one in ends if one >= start] or [len(text)]))
        kept = keep_lines(spool, Lines(segment="a-1.jsonl", at=start, text=text[start:end]))
        there = (spool / "reports/a-1.jsonl").read_text() if kept else ""
        assert text.startswith(there)
        assert len(there) == kept
    assert keep_lines(spool, Lines(segment="a-1.jsonl", at=kept, text=text[kept:])) == len(text)


def test_a_segment_that_was_changed_is_refused(tmp_path: Path) -> None:
    """What was told once stays told; a line that was cut by a crash here is completed."""
    (tmp_path / "reports").mkdir()
    file = tmp_path / "reports/a-1.jsonl"
    file.write_text("one\ntw")
    kept = keep_lines(tmp_path, Lines(segment="a-1.jsonl", at=4, text="two\n"))
    with pytest.raises(VerificationError, match="changed"):
        keep_lines(tmp_path, Lines(segment="a-1.jsonl", at=0, text="One\ntwo\nthree\n"))
    assert (kept, file.read_text()) == (8, "one\ntwo\n")


def test_a_blob_grows_and_is_what_it_claims(tmp_path: Path) -> None:
    """Parts go on where the last one ended; another part is told where that is; the end compares all of it."""
    data = os.urandom(300_000)
    upload = Upload(tmp_path, hashlib.sha256(data).hexdigest())
    upload.append(0, data[:100_000])
    for wrong in (0, 99_999, 100_001):
        with pytest.raises(OffsetError) as told:
            upload.append(wrong, b"x")
        assert told.value.size == 100_000
    upload.append(100_000, data[100_000:])
    before = upload.complete()
    upload.finish()
    assert (before, upload.complete(), upload.target.read_bytes() == data) == (False, True, True)


def test_a_blob_that_lies_is_gone(tmp_path: Path) -> None:
    """Nothing stays of what has another SHA-256; an empty one is one as well."""
    upload = Upload(tmp_path, "0" * 64)
    upload.append(0, b"something else")
    with pytest.raises(VerificationError, match="another one"):
        upload.finish()
    assert os.listdir(tmp_path) == []
    empty = Upload(tmp_path, hashlib.sha256(b"").hexdigest())
    empty.finish()
    assert empty.complete()


@pytest.mark.parametrize("name", ["", "00", "A" * 64, "../" + "0" * 61, "0" * 63 + "\n", "\uff10" * 64])
def test_a_digest_is_64_hex_digits(tmp_path: Path, name: str) -> None:
    """Digests are names of files."""
    with pytest.raises(UsageError):
        Upload(tmp_path, name)
