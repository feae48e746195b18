"""The verdict on a task as the coordinator signs it: an in-toto Statement with SLSA's verification summary.

It names the policy by digest and *all* statements that it was reached from, so that one that is left out is missed. As
with statements there is one byte form: `decode_verdict` encodes what it read again and compares. One that was reached
under other rules than the job's own says so, under which, and what each replica comes to under them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.nesting import loads, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VERDICT_TYPE", "JudgedAgain", "SignedVerdict", "StatementRef", "decode_verdict", "encode_verdict"]

#: The payload type of its envelope.
VERDICT_TYPE = "application/vnd.in-toto+json"

_STATEMENT = "https://in-toto.io/Statement/v1"
_SUMMARY = "https://slsa.dev/verification_summary/v1"
_POLICY = "urn:nexapod-batch:quorum"
_OTHER_POLICY = "urn:nexapod-batch:quorum-and-outputs"
_RESOURCE = re.compile(r"urn:uuid:([0-9a-f-]{36})#([0-9]{1,18})")
_OUTPUTS = "outputs"


class StatementRef(NamedTuple):
    """A statement that a verdict was reached from."""

    replica: str  # its name: 42_7.1
    sha256: str  # of the bytes that were signed, in hex


class JudgedAgain(NamedTuple):
    """Under which other rules kept outputs were judged again, and what each replica comes to under them."""

    number: int  # of the judgements on the task, from 1
    descriptor_sha256: str  # of the policy of the job itself, in hex, as its own verdict names it
    outputs: tuple[Mapping[str, Any], ...]  # with the rules by which they were judged, as a job's document has them
    answers: tuple[tuple[int, str], ...]  # digest under these rules, in hex, by number of the replica
    measured: Mapping[str, Any]  # what was compared within tolerances, as it is kept with a verdict
    replica: int | None  # whose files are the result; None: nothing was accepted


class SignedVerdict(NamedTuple):
    """What a verdict says."""

    verifier: str  # the coordinator, by the name of its ledger
    time_ms: int  # since 1970
    job_uuid: str
    job_sha256: str  # of the job's document, in hex
    policy_sha256: str  # of the canonical JSON of the job's quorum, in hex; of what was judged again with its outputs
    task: int
    state: str  # accepted, failed or inconclusive
    agree: int  # size of the leading group, in distinct domains
    basis: str  # a letter for each replica, by number
    answer: str  # digest of the (normalised) outputs that were accepted, in hex; "" for none
    reached: tuple[tuple[str, int], ...]  # how many different hosts, nodes, sites and owners agreed, by name
    statements: tuple[StatementRef, ...]
    again: JudgedAgain | None = None  # None: by the rules of the job itself

    @property
    def levels(self) -> list[str]:
        """Return what was verified, as levels."""
        if self.state != "accepted":
            return []
        heard = len(self.basis.replace("-", ""))
        return [
            f"NEXAPOD_QUORUM_{self.agree}_OF_{heard}",
            *[f"NEXAPOD_{name.upper()}S_{number}" for name, number in self.reached],
        ]


def encode_verdict(verdict: SignedVerdict) -> bytes:
    """Return the one byte form of a verdict."""
    subject = [{"digest": {"sha256": verdict.job_sha256}, "name": "job.json"}]
    if verdict.answer:
        subject.append({"digest": {"sha256": verdict.answer}, "name": _OUTPUTS})
    document = {
        "_type": _STATEMENT,
        "predicate": {
            "inputAttestations": [{"digest": {"sha256": one.sha256}, "uri": one.replica} for one in verdict.statements],
            "nexapod": {
                "agree": verdict.agree, "basis": verdict.basis, "reached": dict(verdict.reached),
                "state": verdict.state, **_again(verdict.again),
            },
            "policy": {
                "digest": {"sha256": verdict.policy_sha256}, "uri": _POLICY if verdict.again is None else _OTHER_POLICY,
            },
            "resourceUri": f"urn:uuid:{verdict.job_uuid}#{verdict.task}",
            "timeVerified": f"{_second(verdict.time_ms // 1000)}.{verdict.time_ms % 1000:03d}Z",
            "verificationResult": "PASSED" if verdict.state == "accepted" else "FAILED",
            "verifiedLevels": verdict.levels,
            "verifier": {"id": verdict.verifier},
        },
        "predicateType": _SUMMARY,
        "subject": subject,
    }  # fmt: skip
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _again(again: JudgedAgain | None) -> dict[str, Any]:
    """Return what is said of a judgement under other rules; nothing of any other verdict."""
    if again is None:
        return {}
    said = {
        "answers": {str(number): digest for number, digest in again.answers},
        "descriptorPolicy": {"sha256": again.descriptor_sha256}, "measured": again.measured, "number": again.number,
        "outputs": again.outputs, "replica": again.replica,
    }  # fmt: skip
    return {"judgedAgain": said}


def _again_of(document: Any) -> JudgedAgain | None:  # noqa: ANN401 - parsed JSON
    if document is None:
        return None
    return JudgedAgain(
        number=document["number"],
        descriptor_sha256=document["descriptorPolicy"]["sha256"],
        outputs=tuple(document["outputs"]),
        answers=tuple(sorted((int(number), digest) for number, digest in document["answers"].items())),
        measured=document["measured"],
        replica=document["replica"],
    )


@lru_cache(maxsize=4)
def _second(time_s: int) -> str:
    """Return the beginning of a time; many verdicts are reached in one second."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def decode_verdict(payload: bytes) -> SignedVerdict:
    """Return the verdict of a payload whose signature was verified; VerificationError for any other bytes."""
    try:
        found = _from_document(loads(payload))
        again = encode_verdict(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise VerificationError("a signed verdict cannot be read", got=quoted(payload)) from error
    if again != payload:
        raise VerificationError("a signed verdict is not in canonical form", got=quoted(payload))
    return found


def _from_document(document: Any) -> SignedVerdict:  # noqa: ANN401 - parsed JSON
    predicate, subject = document["predicate"], document["subject"]
    own = predicate["nexapod"]
    resource = _RESOURCE.fullmatch(predicate["resourceUri"])
    if resource is None:
        raise ValueError("no task of a job")
    at = datetime.fromisoformat(predicate["timeVerified"])
    return SignedVerdict(
        verifier=predicate["verifier"]["id"],
        time_ms=int(at.replace(microsecond=0).timestamp()) * 1000 + at.microsecond // 1000,
        job_uuid=resource[1],
        job_sha256=subject[0]["digest"]["sha256"],
        policy_sha256=predicate["policy"]["digest"]["sha256"],
        task=int(resource[2]),
        state=own["state"],
        agree=own["agree"],
        basis=own["basis"],
        answer=subject[1]["digest"]["sha256"] if len(subject) > 1 else "",
        reached=tuple(own["reached"].items()),
        statements=tuple([
            StatementRef(one["uri"], one["digest"]["sha256"]) for one in predicate["inputAttestations"]
        ]),
        again=_again_of(own.get("judgedAgain")),
    )
