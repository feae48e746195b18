"""Statements: one byte form, read back completely, refused otherwise."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.job import Program
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.common_statement import read_common
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.statement import (
    NO_DIGEST,
    ContainerUse,
    GpuUse,
    LogTrail,
    Machine,
    Outcome,
    Statement,
    Subject,
    vote_of,
    vote_of_subjects,
)
from nexapod_batch.trust.statement_decoder import decode, read_any
from nexapod_batch.trust.statement_encoder import encode
from nexapod_batch.trust.statement_rules import MAX_PATH, MAX_SUBJECTS, safe_name

NODE = Signer.from_seed(b"n" * 32)
DIGEST = hashlib.sha256(b"").hexdigest()


CONTAINER = ContainerUse(
    image="docker://a:1", sha256=DIGEST, runtime="apptainer", version="1.4.5", mode="userns", network="none"
)


def statement(**changes: Any) -> Statement:
    """Return a statement with defaults; the vote follows the subjects unless it is given."""
    values: dict[str, Any] = {
        "job_uuid": "0192f0c1-2345-7890-abcd-0123456789ab",
        "job_digest": DIGEST,
        "replica": ReplicaName(42, 7, 1),
        "nonce": "0f" * 16,
        "agree": 2,
        "distinct": ("node", "site"),
        "backend": "local",
        "native_id": "",
        "host": "alpha",
        "isolation": "none",
        "classes": {"os-arch": "linux-x86_64"},
        "outcome": Outcome.OK,
        "detail": "",
        "exit_code": 0,
        "wall_ms": 12,
        "cpu_ms": 10,
        "max_rss_kib": 4096,
        "output_bytes": 3,
        "started_ms": 1_700_000_000_123,
        "finished_ms": 1_700_000_000_135,
        "builder": NODE.key_id,
        "subjects": (Subject(name="out/a.txt", sha256=DIGEST, size=3),),
        "manifest": False,
        "inputs": (("ic.npy", DIGEST),),
        "stdout_sha256": DIGEST,
        "stderr_sha256": DIGEST,
        **changes,
    }
    return Statement(**{"vote": vote_of_subjects(values["subjects"]), **values})


PROGRAM = Program(file="/usr/bin/python3", path="/usr/local/bin:/usr/bin", sha256=DIGEST)
BEFORE = statement(machine=Machine(boot="0a" * 16, booted_ms=1_700_000_000_000, id="0b" * 16))
FULL = BEFORE._replace(program=PROGRAM)

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
texts = st.text(max_size=20).filter(str.isprintable)
names = st.text(min_size=1, max_size=20).filter(safe_name)
counts = st.integers(0, 2**53 - 1)
subjects = st.builds(
    Subject,
    name=names,
    sha256=digests,
    normalized=st.none() | st.just(NO_DIGEST) | digests,
    size=st.none() | counts,
)
containers = st.builds(
    ContainerUse,
    image=texts.filter(bool),
    sha256=digests,
    runtime=st.sampled_from(["apptainer", "singularity"]),
    version=texts,
    mode=st.sampled_from(["root", "userns", "setuid", "userns+unsquash"]),
    network=st.sampled_from(["none", "host"]),
)
gpus = st.builds(
    GpuUse,
    uuid=texts.filter(bool),
    model=texts,
    time_ms=st.none() | counts,
    peak_mib=st.none() | counts,
    energy_mj=st.none() | counts,
)
machines = st.builds(
    Machine,
    boot=digests.map(lambda text: text[:32]),
    booted_ms=st.integers(0, 4 * 10**12),
    id=st.just("") | digests.map(lambda text: text[32:]),
)
trails = st.builds(LogTrail, notes=st.integers(1, 2**53 - 1), head=digests)
programs = st.builds(Program, file=texts.filter(bool), path=texts, sha256=st.just("") | digests)
statements = st.fixed_dictionaries(
    {
        "replica": st.builds(ReplicaName, st.integers(1, 10**15), st.integers(0, 10**15), st.integers(1, 999)),
        "host": texts,
        "detail": texts,
        "native_id": texts,
        "isolation": st.sampled_from(["none", "files", "container"]),
        "container": st.none() | containers,
        "gpus": st.lists(gpus, max_size=3).map(tuple),
        "machine": st.none() | machines,
        "trail": st.none() | trails,
        "program": st.none() | programs,
        "passed": st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True), digests, max_size=3).map(
            lambda found: tuple(sorted(found.items()))
        ),
        "classes": st.dictionaries(st.sampled_from(["os-arch", "gpu-model", "cpu-microarch"]), texts),
        "outcome": st.sampled_from(list(Outcome)),
        "exit_code": st.none() | st.integers(-64, 255),
        "wall_ms": counts,
        "cpu_ms": st.none() | counts,
        "max_rss_kib": st.none() | counts,
        "started_ms": st.integers(0, 4 * 10**12),
        "finished_ms": st.integers(0, 4 * 10**12),
        "subjects": st.lists(subjects, min_size=1, max_size=4, unique_by=lambda one: one.name).map(tuple),
        "inputs": st.lists(st.tuples(names, digests), max_size=2).map(tuple),
    }
).map(lambda values: statement(**values))


@given(statements)
def test_what_was_encoded_is_read_back(said: Statement) -> None:
    """Every statement that can be made comes back equal, and has sorted keys without white space."""
    payload = encode(said)
    assert decode(payload) == said
    assert orjson.dumps(orjson.loads(payload), option=orjson.OPT_SORT_KEYS) == payload


@given(statements, st.data())
def test_no_changed_byte_is_the_same_statement(said: Statement, data: st.DataObject) -> None:
    """A changed byte is refused, or is the one form of another statement: no two byte forms mean the same."""
    payload = bytearray(encode(said))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(payload))
    except VerificationError:
        return
    assert encode(other) == bytes(payload)
    assert other != said


plain = st.fixed_dictionaries(
    {
        "replica": st.builds(ReplicaName, st.integers(1, 10**15), st.integers(0, 10**15), st.integers(1, 999)),
        "detail": st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=127), max_size=20),
        "classes": st.dictionaries(st.sampled_from(["os-arch", "_a", "gpu-model"]), st.sampled_from(["", "x y", "é"])),
        "exit_code": st.none() | st.integers(-64, 255),
        "outcome": st.sampled_from(list(Outcome)),
        "subjects": st.builds(
            Subject,
            name=st.sampled_from(["stdout", "out/a.txt", "a b", ".hidden", "manifest"]),
            sha256=digests,
            normalized=st.none() | digests,
            size=st.none() | counts,
        ).map(lambda one: (one,)),
        "inputs": st.lists(st.tuples(st.sampled_from(["a", "b/c", "ü"]), digests), max_size=2).map(tuple),
        "machine": st.none() | machines,
        "program": st.none() | programs,
    }
)


@given(plain, st.data())
def test_the_common_spelling_is_read_as_any_other(values: dict[str, Any], data: st.DataObject) -> None:
    """Where the pattern reads a payload, changed bytes included, parsing reads the same."""
    try:
        payload = bytearray(encode(statement(**values)))
    except ValueError:  # a class that is no word, a control character
        return
    if data.draw(st.booleans()):
        new = data.draw(st.sampled_from(b'0123456789abcdefZ{}[]",:-+_ \\\n\x00\xff'))
        payload[data.draw(st.integers(0, len(payload) - 1))] = new
    found = read_common(bytes(payload))
    if found is not None:
        assert found == read_any(bytes(payload))
        assert encode(found) == bytes(payload)


def test_the_common_spelling_is_common() -> None:
    """Usual statements are read by the pattern: a new field in the encoder would show here."""
    one = Subject(name="out/a.txt", sha256=DIGEST, size=3, normalized=NO_DIGEST)
    for said in (FULL, BEFORE, statement(), statement(program=PROGRAM._replace(sha256="")), statement(inputs=(), subjects=(one,)), statement(classes={}, native_id="12_3", detail="a b")):
        assert read_common(encode(said)) == said


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a parsed document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in paths(one, (*path, key)))]


PATHS = paths(orjson.loads(encode(FULL)))[1:]


def changed(path: tuple[Any, ...], value: Any = ..., extra: str = "") -> bytes:
    """Return the document with one value replaced, removed, or with one more key beside it, in sorted order."""
    document = orjson.loads(encode(FULL))
    place = document
    for key in path[:-1]:
        place = place[key]
    if extra:
        place[extra] = 1
    elif value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_every_field_must_be_there_and_of_its_type(path: tuple[Any, ...]) -> None:
    """Each value of the document: null, a boolean, a float, a list and an object are refused in its place."""
    held = orjson.loads(encode(FULL))
    for key in path:
        held = held[key]
    junk: Any
    legal: Any
    for junk in (None, True, 1.5, -1, [], {}, [[]], {"a": {}}, "\n", "../x"):
        # The only values of this statement that have another legal form: a number below zero or null for the exit
        # code, no inputs, no classes, null for what nobody measured.
        legal = {"exitCode": (None, -1), "resolvedDependencies": ([],), "class": ({},)}.get(str(path[-1]), ())
        if path[-1] in {"cpuMs", "maxRssKiB"}:
            legal = (None,)
        if path[-1] in {"detail", "host", "nativeId", "os-arch", "file", "path"}:  # free text, as long as it can be shown
            legal = ("../x",)
        if junk == held or any(junk is one or (junk == one and type(junk) is type(one)) for one in legal):
            continue
        with pytest.raises(VerificationError):
            decode(changed(path, junk))


@pytest.mark.parametrize("path", [path for path in PATHS if type(path[-1]) is str], ids=lambda path: ".".join(map(str, path)))
def test_unknown_keys_are_refused(path: tuple[Any, ...]) -> None:
    """One more key, anywhere, is refused, also an unknown digest beside the known one."""
    open_list = "class" in path[:-1]  # of names: a value of another type is refused there
    with pytest.raises(VerificationError, match="Expected `str`" if open_list else "unknown field `zzz`"):
        decode(changed(path, extra="zzz"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_missing_keys_are_refused(path: tuple[Any, ...]) -> None:
    """What may be left out (a size, an input, a class, one of several domains) is another statement, never an error."""
    optional = {"annotations", "os-arch", "machine", "program"} & set(path[-1:]) or path[-2:] in {("resolvedDependencies", 0), ("distinct", 0),
                                                                           ("distinct", 1)}  # fmt: skip
    if optional:
        assert decode(changed(path)) != FULL
        return
    with pytest.raises(VerificationError):
        decode(changed(path))


def test_repeated_keys_are_refused() -> None:
    """Parsers disagree on which of two equal keys counts, so neither does."""
    payload = encode(statement())
    for old, new in (
        (b'"exitCode":0', b'"exitCode":1,"exitCode":0'),
        (b'"_type":', b'"_type":"x","_type":'),
        (b'"sha256":"', b'"sha256":"00","sha256":"'),
    ):
        with pytest.raises(VerificationError, match=r"canonical|Invalid enum value"):
            decode(payload.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"exitCode":0', b'"exitCode":NaN'),
        (b'"exitCode":0', b'"exitCode":0.0'),
        (b'"exitCode":0', b'"exitCode":-0'),
        (b'"exitCode":0', b'"exitCode":1e400'),
        (b'"exitCode":0', b'"exitCode": 0'),
        (b'"wallMs":12', b'"wallMs":9007199254740993'),
        (b'"host":"alpha"', b'"host":"\\u0061lpha"'),
        (b'"host":"alpha"', b'"host":"\\ud800"'),
        (b'"host":"alpha"', b'"host":"\xff"'),
        (b".123Z", b".123+00:00"),
        (b".123Z", b".1230Z"),
        (b".123Z", b".123000Z"),
        (b"2023-11-14T", b"20231114T"),
        (b"2023-11-14T", b"1969-11-14T"),
        (b'"42_7.1"', b'"42_7.2"'),
        (b'"task":7', b'"task":8'),
        (b"/v1", b"/v2"),
        (b'"name":"stderr"', b'"name":"stdout"'),
    ],
)
def test_other_spellings_are_refused(old: bytes, new: bytes) -> None:
    """Values that some parser would read as the same, or that contradict another copy, are refused."""
    payload = encode(statement())
    assert old in payload
    with pytest.raises(VerificationError):
        decode(payload.replace(old, new, 1))


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{}", b'"x"', b"[" * 5000, b"\xff", b'{"_type":1}'])
def test_no_payload_gives_another_error(payload: bytes) -> None:
    """Things that are no statement at all are refused with our error."""
    with pytest.raises(VerificationError):
        decode(payload)


@pytest.mark.parametrize(
    "changes",
    [
        {"subjects": ()},
        {"subjects": (Subject(name="a", sha256=DIGEST), Subject(name="a", sha256=NO_DIGEST))},
        {"subjects": tuple(Subject(name=str(i), sha256=DIGEST) for i in range(MAX_SUBJECTS + 1))},
        {"subjects": (Subject(name="../a", sha256=DIGEST),)},
        {"subjects": (Subject(name="/etc/passwd", sha256=DIGEST),)},
        {"subjects": (Subject(name="a\nb", sha256=DIGEST),)},
        {"subjects": (Subject(name="a", sha256=DIGEST.upper()),)},
        {"subjects": (Subject(name="a", sha256=DIGEST, size=-1),)},
        {"vote": NO_DIGEST},
        {"program": PROGRAM._replace(file="")},
        {"program": PROGRAM._replace(file="/a\nb")},
        {"program": PROGRAM._replace(path="/a:\x1b[1m")},
        {"program": PROGRAM._replace(path="/a" * MAX_PATH)},
        {"program": PROGRAM._replace(sha256=DIGEST.upper())},
        {"program": PROGRAM._replace(sha256=DIGEST[:32])},
        {"detail": "two\nlines"},
        {"host": "\x1b[31m"},
        {"nonce": "0F" * 16},
        {"builder": "SHA256:short"},
        {"agree": 0},
        {"replica": ReplicaName(0, 0, 1)},
        {"distinct": ()},
        {"isolation": "maybe"},
        {"wall_ms": 1.0},
        {"exit_code": True},
        {"started_ms": 2**53},
        {"classes": {"OS": "x"}},
        {"inputs": (("..", DIGEST),)},
        {"container": CONTAINER._replace(sha256="")},
        {"container": CONTAINER._replace(image="a\nb")},
        {"container": CONTAINER._replace(mode="A B")},
        {"container": CONTAINER._replace(network="bridge")},
        {"container": CONTAINER._replace(version=cast("Any", 7))},
        {"gpus": (GpuUse(uuid="", model=""),)},
        {"passed": (("A B", DIGEST),)},
        {"passed": (("A", "no digest"),)},
        {"passed": tuple((f"A{number}", DIGEST) for number in range(101))},
        {"machine": Machine(boot="", booted_ms=0, id="")},
        {"machine": Machine(boot="0A" * 16, booted_ms=0, id="")},
        {"machine": Machine(boot="0a" * 16, booted_ms=0, id="0a" * 32)},
        {"machine": Machine(boot="0a" * 16, booted_ms=-1, id="")},
        {"machine": Machine(boot="0a" * 16, booted_ms=2**53, id="")},
        {"trail": LogTrail(0, DIGEST)},
        {"trail": LogTrail(-1, DIGEST)},
        {"trail": LogTrail(2**53, DIGEST)},
        {"trail": LogTrail(1, DIGEST.upper())},
        {"trail": LogTrail(1, "")},
        {"gpus": (GpuUse(uuid="GPU-1", model="a\nb"),)},
        {"gpus": (GpuUse(uuid="GPU-1", model="", time_ms=-1),)},
        {"gpus": (GpuUse(uuid="GPU-1", model="", energy_mj=cast("Any", 1.5)),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_read_cannot_be_signed(changes: dict[str, Any]) -> None:
    """The same rules hold on both sides: a runner learns of a fault before it signs."""
    with pytest.raises((ValueError, OverflowError)):
        encode(statement(**changes))


def test_a_manifest_stands_for_many_outputs() -> None:
    """One subject carries the digest of the manifest and the vote."""
    one = Subject(name="manifest", sha256=DIGEST, normalized="ab" * 32, size=9_000)
    said = statement(subjects=(one,), manifest=True, vote="ab" * 32)
    assert decode(encode(said)) == said
    told = encode(said._replace(subjects=(Subject(name="manifest", sha256=DIGEST, size=9_000),)))
    assert decode(told) == said


def test_an_output_called_manifest_is_an_output() -> None:
    """The name alone does not turn an output into a manifest, and a manifest has no other name."""
    said = statement(subjects=(Subject(name="manifest", sha256=DIGEST),))
    assert decode(encode(said)).manifest is False
    with pytest.raises(ValueError, match="is called manifest"):
        encode(statement(manifest=True))


def test_the_vote_is_the_digest_of_the_manifest_lines() -> None:
    """Lines of sha256sum in order of the names; the same whatever order they came in, one or several."""
    entries = [("b", "2" * 64), ("a", "3" * 64), ("B", "1" * 64)]
    lines = b"".join(f"{digest}  {name}\n".encode() for name, digest in sorted(entries))
    assert vote_of(entries) == vote_of(reversed(entries)) == hashlib.sha256(lines).hexdigest()
    one = Subject(name="é", sha256="1" * 64, normalized="2" * 64)
    assert vote_of_subjects([one]) == vote_of([("é", "2" * 64)]) != vote_of([("é", "1" * 64)])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/a", "a/", "a//b", "a/../b", "./a", "a\0", "a\x7f", "a\x85", "\udcff", "a\u202e", "x" * 4097]
)
def test_unsafe_names(name: str) -> None:
    """Names that leave the folder, spoof a terminal, or are no UTF-8 are not safe."""
    assert not safe_name(name)


@pytest.mark.parametrize("name", ["a", "a/b.c", "...", ".a", "a b", "ä/ö\u00a0", "a\\b", "'", "x" * 4096])
def test_safe_names(name: str) -> None:
    """Odd but harmless names are safe."""
    assert safe_name(name)
