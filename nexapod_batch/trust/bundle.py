"""The bundle that a coordinator signs for one runner, as canonical JSON and back.

As with statements there is one byte form: `decode_bundle` re-encodes what it read and compares. `foreign` stands there
only where it is true, so that a bundle without it means what it meant before there was the word; a runner that does
not know the word takes no foreign bundle. The same holds for `continues` of a replica.
"""

from __future__ import annotations

from typing import Any

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.replica import Assignment, Bundle, Continuation
from nexapod_batch.trust.nesting import loads, quoted
from nexapod_batch.trust.statement_rules import MAX_INT, is_hex, is_key_id, is_plain, safe_name

__all__ = ["BUNDLE_TYPE", "MAX_BUNDLE", "decode_bundle", "encode_bundle"]

BUNDLE_TYPE = "application/vnd.nexapod.bundle+json"

#: The largest bundle envelope: a job document may carry a long table of array values.
MAX_BUNDLE = 256 << 20

_SCHEMA = 2  # 1 was signed for by the node's own key


def encode_bundle(bundle: Bundle) -> bytes:
    """Return the one byte form of a bundle; ValueError names what cannot be signed."""
    _check(bundle)
    return _encode(bundle)


def decode_bundle(payload: bytes) -> Bundle:
    """Return the bundle of a payload whose signature was verified; VerificationError for any other bytes.

    Audience and expiry are read here and judged by the runner.
    """
    try:
        document = loads(payload)
        if document["schema"] != _SCHEMA:
            raise VerificationError(
                "the bundle is of another version", got=quoted(document["schema"], 40), wanted=f"schema {_SCHEMA}",
                hint="coordinator and runner are of different versions: update the older one",
            )  # fmt: skip
        bundle = _from_document(document)
        _check(bundle)
        again = _encode(bundle)
    except KeyError as error:
        raise VerificationError("bundle lacks a field", got=f"no {quoted(error.args[0])}") from error
    except (TypeError, AttributeError) as error:
        raise VerificationError("bundle has a field of the wrong type", got=str(error)[:200]) from error
    except ValueError as error:  # no JSON, or an impossible value
        raise VerificationError("bundle cannot be read", got=str(error)[:200]) from error
    if again != payload:
        raise VerificationError("bundle is not in canonical form")
    return bundle


def _encode(bundle: Bundle) -> bytes:
    document: dict[str, Any] = {
        "audience": bundle.audience,
        "inputs": bundle.input_paths,
        "job": {"document": bundle.document.decode(), "id": bundle.job_id, "uuid": bundle.job_uuid},
        "launch": bundle.launch,
        "notAfter": bundle.not_after,
        "replicas": [_assignment_document(replica) for replica in bundle.replicas],
        "schema": _SCHEMA,
        "subkey": bundle.subkey,
    }
    if bundle.foreign:
        document["foreign"] = True
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _assignment_document(replica: Assignment) -> dict[str, Any]:
    document: dict[str, Any] = {
        "nonce": replica.nonce, "number": replica.number, "parameters": replica.parameters, "task": replica.task,
    }  # fmt: skip
    if replica.continues is not None:
        document["continues"] = {"files": dict(replica.continues.files), "replica": replica.continues.number}
    return document


def _assignment(document: Any) -> Assignment:  # noqa: ANN401 - parsed JSON
    return Assignment(
        task=document["task"], number=document["number"], nonce=document["nonce"], parameters=document["parameters"],
        continues=_continuation(document["continues"]) if "continues" in document else None,
    )  # fmt: skip


def _continuation(document: Any) -> Continuation:  # noqa: ANN401 - parsed JSON
    return Continuation(number=document["replica"], files=tuple(sorted(document["files"].items())))


def _from_document(document: Any) -> Bundle:  # noqa: ANN401 - parsed JSON
    job = document["job"]
    return Bundle(
        launch=document["launch"],
        audience=document["audience"],
        not_after=document["notAfter"],
        job_id=job["id"],
        job_uuid=job["uuid"],
        document=job["document"].encode(),
        input_paths=document["inputs"],
        subkey=document["subkey"],
        replicas=tuple([_assignment(replica) for replica in document["replicas"]]),
        foreign=document.get("foreign", False),
    )


def _check(bundle: Bundle) -> None:
    """Raise ValueError or TypeError unless every value is what its field may hold."""
    _check_names(bundle)
    _number("not_after", bundle.not_after, 0)
    _number("job id", bundle.job_id, 1)
    if not bundle.document:
        raise ValueError("job document is empty")
    if type(bundle.foreign) is not bool:
        raise TypeError("foreign is neither true nor false")
    _strings("inputs", bundle.input_paths)
    for digest, path in bundle.input_paths.items():
        if not is_hex(digest, 64) or not path.startswith("/") or "\0" in path:
            raise ValueError(f"input {quoted(path, 80)} is no absolute path with a digest")
    _check_replicas(bundle)


def _check_names(bundle: Bundle) -> None:
    if not is_hex(bundle.launch, 32):
        raise ValueError("launch is not 32 hex digits")
    if not is_key_id(bundle.audience):
        raise ValueError("audience is no key id")
    if not is_key_id(bundle.subkey):
        raise ValueError("subkey is no key id")
    if not is_plain(bundle.job_uuid):
        raise ValueError("job uuid is no plain word")


def _check_replicas(bundle: Bundle) -> None:
    if not bundle.replicas:
        raise ValueError("no replicas")
    for replica in bundle.replicas:
        _number("task", replica.task, 0)
        _number("replica number", replica.number, 1)
        if not is_hex(replica.nonce, 32):
            raise ValueError("nonce is not 32 hex digits")
        _strings("parameters", replica.parameters)
        if replica.continues is not None:
            _check_continuation(replica, replica.continues)
    if len({(replica.task, replica.number) for replica in bundle.replicas}) != len(bundle.replicas):
        raise ValueError("one replica stands in the bundle twice")


def _check_continuation(replica: Assignment, continues: Continuation) -> None:
    _number("continued replica", continues.number, 1)
    if continues.number >= replica.number:
        raise ValueError(f"replica {replica.number} continues a later one: {continues.number}")
    if not continues.files:
        raise ValueError("a replica continues from no file")
    for name, digest in continues.files:
        if type(name) is not str or not safe_name(name) or type(digest) is not str or not is_hex(digest, 64):
            raise ValueError(f"state {quoted(name, 80)} has an unsafe name or no digest")


def _number(field: str, value: object, minimum: int) -> None:
    if type(value) is not int or not minimum <= value <= MAX_INT:
        raise ValueError(f"{field} is {quoted(value, 40)}, wanted a whole number from {minimum}")


def _strings(field: str, values: Any) -> None:  # noqa: ANN401 - may be anything that JSON spells
    if type(values) is not dict or not all(type(key) is str and type(text) is str for key, text in values.items()):
        raise TypeError(f"{field} is no object of texts")
