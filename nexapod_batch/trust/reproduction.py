"""What somebody else got who ran an archived job again: an in-toto Statement with a test-result predicate.

Its subjects are the archive, by the digest of its tag manifest, and the job. Every task that was run is a test. It
holds the key that signs it, so that a reader has all in one file; whose key it is must be learnt elsewhere. There is
one byte form: `open_reproduction` encodes what it read again and compares.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.dsse import open_envelope, seal
from nexapod_batch.trust.keys import KEY_BYTES, key_id
from nexapod_batch.trust.nesting import loads, quoted

if TYPE_CHECKING:
    from nexapod_batch.trust.dsse import Signer

__all__ = ["MAX_REPRODUCTION", "ReproducedTask", "Reproduction", "file_name", "open_reproduction", "seal_reproduction"]

_TYPE = "application/vnd.in-toto+json"
_STATEMENT, _RESULT = "https://in-toto.io/Statement/v1", "https://in-toto.io/attestation/test-result/v0.1"
#: The largest statement, in bytes.
MAX_REPRODUCTION = 16 << 20
_HEX = re.compile(r"[0-9a-f]{64}")


class ReproducedTask(NamedTuple):
    """What became of one task."""

    task: str  # its name in the archive: 42_7
    agreed: bool
    node: str
    site: str
    numeric_class: str  # "" where the job asks for none
    isolation: str
    statement: str  # hex SHA-256 of what the node signed; "" for none
    differences: tuple[str, ...]  # where it differed, or why there is no answer


class Reproduction(NamedTuple):
    """What a reproduction says."""

    archive: str  # hex SHA-256 of the archive's tag manifest
    job_uuid: str  # of the archived job
    job_sha256: str
    own_uuid: str  # of the job that ran it again
    own_sha256: str
    who: str  # for people: account and machine, as they call themselves
    public: bytes  # raw key of who signs it
    time_ms: int  # since 1970
    tasks: tuple[ReproducedTask, ...]

    @property
    def agreed(self) -> bool:
        """Say whether every task agreed, of at least one."""
        return bool(self.tasks) and all(task.agreed for task in self.tasks)


def seal_reproduction(reproduction: Reproduction, signer: Signer) -> bytes:
    """Return the signed envelope, as it is kept in a file; ValueError where another key would sign than is in it."""
    if signer.public != reproduction.public:
        raise ValueError("a reproduction is signed by the key that is in it")
    return seal(signer, _TYPE, _encoded(reproduction)) + b"\n"


def _encoded(reproduction: Reproduction) -> bytes:
    tasks = [
        {
            "agreed": task.agreed, "class": task.numeric_class, "differences": list(task.differences),
            "isolation": task.isolation, "node": task.node, "site": task.site, "statement": task.statement,
            "task": task.task,
        }
        for task in reproduction.tasks
    ]  # fmt: skip
    own = _job(reproduction.own_uuid, reproduction.own_sha256)
    time = datetime.fromtimestamp(reproduction.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    document = {
        "_type": _STATEMENT,
        "predicate": {
            "configuration": [own],
            "failedTests": [task.task for task in reproduction.tasks if not task.agreed],
            "nexapod": {
                "key": binascii.b2a_base64(reproduction.public, newline=False).decode(),
                "tasks": tasks,
                "time": time,
                "who": reproduction.who,
            },
            "passedTests": [task.task for task in reproduction.tasks if task.agreed],
            "result": "PASSED" if reproduction.agreed else "FAILED",
        },
        "predicateType": _RESULT,
        "subject": [
            {"digest": {"sha256": reproduction.archive}, "name": "tagmanifest-sha256.txt"},
            _job(reproduction.job_uuid, reproduction.job_sha256),
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _job(uuid: str, sha256: str) -> dict[str, Any]:
    return {"digest": {"sha256": sha256}, "name": "job.json", "uri": f"urn:uuid:{uuid}"}


def open_reproduction(sealed: bytes) -> Reproduction:
    """Return what a statement says, signed by the key that is in it.

    Raises:
        VerificationError: It is no reproduction, or that key did not sign it.

    """
    try:
        document = loads(sealed)
        payload = binascii.a2b_base64(document["payload"], strict_mode=True)
        public = binascii.a2b_base64(loads(payload)["predicate"]["nexapod"]["key"], strict_mode=True)
        if len(public) != KEY_BYTES:
            raise ValueError("no key")
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError("not a reproduction statement", got=quoted(sealed)) from error
    opened = open_envelope(sealed.rstrip(b"\n"), _TYPE, {key_id(public): public}, limit=MAX_REPRODUCTION)
    try:
        found = _from_document(loads(opened.payload), public)
        again = _encoded(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise VerificationError("a reproduction cannot be read", got=quoted(opened.payload)) from error
    if again != opened.payload:
        raise VerificationError("a reproduction is not in canonical form", got=quoted(opened.payload))
    return found


def _from_document(document: Any, public: bytes) -> Reproduction:  # noqa: ANN401 - parsed JSON
    own, (archive, job) = document["predicate"]["nexapod"], document["subject"]
    (configuration,) = document["predicate"]["configuration"]
    tasks = [
        ReproducedTask(
            task=_text(task["task"]),
            agreed=task["agreed"] is True,
            node=_text(task["node"]),
            site=_text(task["site"]),
            numeric_class=_text(task["class"]),
            isolation=_text(task["isolation"]),
            statement=_text(task["statement"]),
            differences=tuple([_text(line) for line in task["differences"]]),
        )
        for task in own["tasks"]
    ]
    digests = [one["digest"]["sha256"] for one in (archive, job, configuration)]
    if not all(_HEX.fullmatch(digest) for digest in digests):
        raise ValueError("no digests")
    return Reproduction(
        archive=digests[0],
        job_uuid=_text(job["uri"]).removeprefix("urn:uuid:"),
        job_sha256=digests[1],
        own_uuid=_text(configuration["uri"]).removeprefix("urn:uuid:"),
        own_sha256=digests[2],
        who=_text(own["who"]),
        public=public,
        time_ms=round(datetime.fromisoformat(own["time"]).timestamp() * 1000),
        tasks=tuple(tasks),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def file_name(sealed: bytes, reproduction: Reproduction) -> str:
    """Return what a statement is called in an archive: its key and its own digest, so that no name can be another's."""
    stem = key_id(reproduction.public).removeprefix("SHA256:").replace("/", "_").replace("+", "-")
    return f"{stem}.{hashlib.sha256(sealed).hexdigest()[:16]}.dsse.json"
