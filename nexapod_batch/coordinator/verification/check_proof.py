"""Check the signed statements of one job, with Python's own library and `openssl`, and nothing of nexapod-batch.

    python3 check.py --key alice.pem --key bob.pem [--uuid UUID] [--results FOLDER]

Keys count only if they are given: get each from the owner of its node, never from the folder that it is to prove. Every
statement is verified from its node's key down (the key lets a key of one launch speak, and that one signs), bound to
the job (UUID, digest of job.json, task, replica, policy, image, isolation), and counted by what it says of the outputs.
The verdict on each task must be in the ledger, signed by the coordinator's key that lies here, and name no statement
that does not; what the scheduler overruled does not count.

Exit code 0: every task that the verdict calls accepted is agreed on by as many keys as the policy asks for.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
STATEMENT, DELEGATION = "application/vnd.in-toto+json", "application/vnd.nexapod.delegation+json"
ROTATION = "application/vnd.nexapod.rotation+json"
ISOLATION = ["none", "files", "container"]  # from the least to the most
NO_VOTE = "f" * 64  # of an output that is published and signed, and need not agree
NAME = re.compile(r"([0-9]+)_([0-9]+)\.([0-9]+)(?:\.[0-9]+)?\.dsse\.json")
SPKI = bytes.fromhex("302a300506032b6570032100")  # what stands before the 32 bytes of an Ed25519 key in a .pem file


class Bad(Exception):  # noqa: N818 - a word for what is refused
    """A statement that proves nothing."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; Bad where a key stands in it twice: readers would disagree on which one counts."""
    if len({key for key, _ in pairs}) != len(pairs):
        raise Bad("a key stands in it twice")
    return dict(pairs)


def fingerprint(spki: bytes) -> str:
    """Return a key's id, as `ssh-keygen -l` prints it."""
    wire = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + spki.removeprefix(SPKI)
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).rstrip(b"=").decode()


def read_key(text: str) -> bytes:
    """Return the bytes of a public key in PEM form; SystemExit where it is no public key of Ed25519."""
    spki = base64.b64decode("".join(line for line in text.splitlines() if not line.startswith("-----")))
    if not spki.startswith(SPKI) or len(spki) != len(SPKI) + 32:
        raise SystemExit("a --key is no Ed25519 public key in PEM form")
    return spki


def verified(envelope: Path, kind: str, spki: bytes) -> Any:  # noqa: ANN401 - whatever was signed
    """Return what a DSSE envelope says; Bad where it is of another type, or the key did not sign it, by openssl."""
    document = json.loads(envelope.read_text(encoding="utf-8"), object_pairs_hook=once)
    payload = base64.b64decode(document["payload"])
    if document["payloadType"] != kind:
        raise Bad(f"{envelope.name} is of another type")
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    if not any(signed(message, base64.b64decode(one["sig"]), spki) for one in document["signatures"][:2]):
        raise Bad(f"{envelope.name} is not signed by {fingerprint(spki)}")
    return json.loads(payload, object_pairs_hook=once)


def signed(message: bytes, signature: bytes, spki: bytes) -> bool:
    """Say whether a key signed a message, by openssl."""
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "key": b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(spki) + b"\n-----END PUBLIC KEY-----\n",
            "signed": message,
            "signature": signature,
        }
        for name, data in parts.items():
            Path(folder, name).write_bytes(data)
        argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin", "-in", "signed"]
        quiet = subprocess.DEVNULL
        code = subprocess.call([*argv, "-sigfile", "signature"], cwd=folder, stdout=quiet, stderr=quiet)
    return code == 0


def check_run(inner: Any, job: Any) -> None:  # noqa: ANN401
    """Raise Bad unless a run ended well, and as isolated as the job asks for."""
    if inner["outcome"] != "ok" or inner["exitCode"] != 0:
        raise Bad(f"no result: outcome {inner['outcome']}, exit code {inner['exitCode']}")
    if ISOLATION.index(inner["isolation"]) < ISOLATION.index(isolation_of(job)):
        raise Bad(f"isolation {inner['isolation']}, wanted {isolation_of(job)}")


def check(envelope: Path, job: Any, uuid: str, keys: dict[str, bytes]) -> tuple[str, bytes, dict[str, Any]]:  # noqa: ANN401
    """Return whose a statement is, what it votes for, and its parts; Bad unless it is about the replica of its name."""
    job_id, task, number = map(int, NAME.fullmatch(envelope.name).groups())  # type: ignore[union-attr] # only such come
    node, spki = owner(envelope.with_name(f"{job_id}_{task}.{number}.delegation.json"), keys)
    given = verified(envelope.with_name(f"{job_id}_{task}.{number}.delegation.json"), DELEGATION, spki)
    said = verified(envelope, STATEMENT, base64.b64decode(given["subkey"]))
    build, run = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    outer, inner = build["externalParameters"], build["internalParameters"]
    quorum = {"agree": job["quorum"]["agree"], "distinct": job["quorum"]["distinct"]}
    image = [dependency["digest"]["sha256"] for dependency in build["resolvedDependencies"] if "uri" in dependency]
    wanted = {
        "job (UUID)": (outer["job"], uuid),
        "job (digest)": (outer["jobDigest"]["sha256"], form_of(outer["jobDigest"]["sha256"], job)),
        "job (number)": (outer["jobId"], job_id),
        "task": (outer["task"], task),
        "replica": (outer["replica"], number),
        "policy": (outer["quorum"], quorum),
        "node": (run["builder"]["id"], node),
        "node of the delegation": (given["node"], node),
        "job of the delegation": (given["job"], outer["jobDigest"]["sha256"]),
        "launch": (outer["nonce"] in given["nonces"], True),
        "image": (image, [job["container"]["sha256"]] if inner["isolation"] == "container" else []),
    }
    for what, (got, expected) in wanted.items():
        if got != expected:
            raise Bad(f"it is about another {what}: {got!r}, wanted {expected!r}")
    check_run(inner, job)
    digests = [one["digest"].get("nexapod-normalized", one["digest"]["sha256"]) for one in said["subject"]]
    names = [one["name"] for one in said["subject"]]
    votes = sorted((name, digest) for name, digest in zip(names, digests, strict=True) if digest != NO_VOTE)
    return node, repr(votes).encode(), said


def forms_of(job: Any) -> list[str]:  # noqa: ANN401
    """Return the digests of the forms of a document that grew while tasks got their inputs, one after the other."""
    found, elements = [], job.get("elements", {"forms": []})
    for number, (inputs, tasks) in enumerate(elements["forms"], 1):
        then = {**elements, "tasks": elements["tasks"][:tasks], "forms": elements["forms"][:number]}
        form = {**job, "inputs": job["inputs"][:inputs], "elements": then}
        found.append(json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    return [hashlib.sha256(text.encode()).hexdigest() for text in found]


def form_of(sha256: str, job: Any) -> str:  # noqa: ANN401
    """Return a digest that is one of the job's document, or of a form that it had; else the one of the document."""
    return sha256 if sha256 in job["digests"] else str(job["digest"])


def isolation_of(job: Any) -> str:  # noqa: ANN401
    """Return the least isolation that the job asks for."""
    contained = job["container"] is not None and job["container"].get("isolation", "container") == "container"
    return "container" if contained else str(job["quorum"].get("min_isolation", "none"))


def owner(delegation: Path, keys: dict[str, bytes]) -> tuple[str, bytes]:
    """Return which of the keys that were given a delegation names; Bad where it is missing, or names another."""
    if not delegation.exists():
        raise Bad(f"{delegation.name} is missing")
    document = json.loads(delegation.read_text(encoding="utf-8"), object_pairs_hook=once)
    named = str(json.loads(base64.b64decode(document["payload"]), object_pairs_hook=once)["node"])
    if named not in keys:
        raise Bad(f"by {named}, whose key was not given")
    return named, keys[named]


def files_of(folder: Path, statement: dict[str, Any], task: int, job_id: int) -> list[str]:
    """Return which published files are not those of a statement."""
    outputs = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    if statement["subject"][0].get("mediaType") == "text/vnd.nexapod.manifest":
        text = (HERE / f"{job_id}_{task}.manifest").read_bytes()
        if hashlib.sha256(text).hexdigest() != outputs["manifest"]:
            return ["the manifest is another one"]
        outputs = {name: digest for digest, name in (line.split("  ", 1) for line in text.decode().split("\n")[:-1])}
    bad = []
    for name, digest in sorted(outputs.items()):
        path = folder / str(task) / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            bad.append(name)
    return bad


@cache
def coordinators() -> list[bytes]:
    """Return the coordinator's key, and those before it, which the newer ones vouch for."""
    known = [read_key((HERE / "coordinator.spki").read_text(encoding="utf-8"))]
    for number in range(len(list(HERE.glob("coordinator.*.rotation.json"))), 0, -1):
        rotation = verified(HERE / f"coordinator.{number}.rotation.json", ROTATION, known[-1])
        known.append(base64.b64decode(rotation["old"]))
    return known


@cache
def head() -> tuple[str, int, str]:
    """Return the head of the ledger as it was signed, its size and root; Bad where the coordinator did not sign it."""
    text = (HERE / "checkpoint").read_text(encoding="utf-8")
    said, _, lines = text.partition("\n\n")
    name, size, root = said.split("\n")
    for line in lines.split("\n")[:-1]:
        _, signer, value = line.split(" ")
        signature = base64.b64decode(value)[4:]
        if signer == name and any(signed(f"{said}\n".encode(), signature, key) for key in coordinators()):
            return text, int(size), root
    raise Bad("checkpoint is not signed by the coordinator")


def proved(file: str) -> dict[str, Any]:
    """Return the entry of the ledger that a proof is of; Bad where there is none, or it does not lead to the head."""
    if not (HERE / file).is_file():
        raise Bad(f"OMITTED: {file} is not here")
    text, size, root = head()
    above, _, below = (HERE / file).read_text(encoding="utf-8").partition("\n\n")
    _, extra, index, *path = above.split("\n")
    entry, number, last = base64.b64decode(extra.split(" ")[1]), int(index.split(" ")[1]), size - 1
    found = hashlib.sha256(b"\0" + entry).digest()
    for line in path:
        other, right = base64.b64decode(line), number & 1 or number == last
        found = hashlib.sha256(b"\1" + (other + found if right else found + other)).digest()
        while right and not number & 1 and number:
            number, last = number >> 1, last >> 1
        number, last = number >> 1, last >> 1
    if below != text or last or base64.b64encode(found).decode() != root:
        raise Bad(f"{file} does not lead to the head of the ledger")
    return dict(json.loads(entry, object_pairs_hook=once))


def check_verdict(name: str, task: Any, verdict: Any, job: Any) -> str:  # noqa: ANN401
    """Return whose key signed the verdict on a task; Bad unless the ledger has it, and all that it names is here."""
    said = proved(f"{name}.verdict.tlog-proof")
    kinds = {said["kind"], said.get("fact")}
    if said.get("id") != name or said.get("state") != task["state"] or "verdict" not in kinds:
        raise Bad(f"the ledger has another verdict on it: {said}")
    if "sha256" not in said:
        return "nobody: it was reached before verdicts were signed"
    key, summary = opened(f"{name}.vsa.json", name, said)
    own = summary["predicate"]["nexapod"]
    wanted = {
        "job": (summary["predicate"]["resourceUri"], f"urn:uuid:{verdict['uuid']}#{task['task']}"),
        "document": (sha256 := summary["subject"][0]["digest"]["sha256"], form_of(sha256, job)),
        "state": (own["state"], task["state"]),
        "number that agree": (own["agree"], task["agree"]),
    }
    for what, (got, expected) in wanted.items():
        if got != expected:
            raise Bad(f"{name}.vsa.json is of another {what}: {got!r}, wanted {expected!r}")
    return key


def opened(name: str, task: str, entry: dict[str, Any]) -> tuple[str, Any]:
    """Return whose key signed a verdict, and the verdict; Bad unless the entry has it, and all it names is here."""
    file = HERE / name
    if not file.exists():
        raise Bad(f"OMITTED: the ledger has a signed verdict on it, and {name} is not here")
    payload = base64.b64decode(json.loads(file.read_text(encoding="utf-8"))["payload"])
    if base64.b64encode(hashlib.sha256(payload).digest()).decode() != entry["sha256"]:
        raise Bad(f"{name} is not the verdict that the ledger has")
    key = next((key for key in coordinators() if signs(file, key)), None)
    if key is None:
        raise Bad(f"{name} is not signed by the coordinator")
    summary = json.loads(payload, object_pairs_hook=once)
    here = {(NAME.sub(r"\1_\2.\3", path.name), digest(path)) for path in HERE.glob(f"{task}.*.dsse.json")}
    for one in summary["predicate"]["inputAttestations"]:
        if (one["uri"], one["digest"]["sha256"]) not in here:
            raise Bad(f"OMITTED: it was reached from a statement of {one['uri']} that is not here")
    return fingerprint(key), summary


def check_again(name: str, task: Any, verdict: Any) -> bool:  # noqa: ANN401
    """Say what came of a task by other rules than the job's, and whether it is as the ledger has it."""
    good = True
    for number in range(1, task.get("judged", 0) + 1):
        again = f"{name}.judged-{number}"
        try:
            said = proved(f"{again}.tlog-proof")
            key, summary = opened(f"{again}.vsa.json", name, said)
            about = summary["predicate"]["resourceUri"], said["kind"], said["id"]
            if about != (f"urn:uuid:{verdict['uuid']}#{task['task']}", "judged-again", name):
                raise Bad(f"it is about something else: {about}")
            own = summary["predicate"]["nexapod"]
            rules = json.dumps(own["judgedAgain"]["outputs"])
            print(f"{again}: {own['state']} under other rules, which the job did not name: {rules}; signed by {key}")
        except (Bad, ValueError, KeyError, TypeError, IndexError, OSError) as error:
            print(f"{again}: the verdict is not proved: {error}")
            good = False
    return good


def signs(envelope: Path, key: bytes) -> bool:
    """Say whether a key signed a verdict."""
    try:
        verified(envelope, STATEMENT, key)
    except Bad:
        return False
    return True


def digest(envelope: Path) -> str:
    """Return the SHA-256 of what was signed, in hex."""
    return hashlib.sha256(base64.b64decode(json.loads(envelope.read_text(encoding="utf-8"))["payload"])).hexdigest()


def main() -> int:
    """Check everything; return the exit code."""
    options = argparse.ArgumentParser(description="Check the signed statements of one job.")
    options.add_argument("--key", action="append", default=[], metavar="PEM", help="a node's key, from its owner")
    options.add_argument("--uuid", help="of the job, from whoever published it; else as verdict.json has it")
    options.add_argument("--results", type=Path, metavar="FOLDER", help="the published results/<job>")
    given = options.parse_args()
    verdict = json.loads((HERE / "verdict.json").read_text(encoding="utf-8"))
    job = json.loads(document := (HERE / "job.json").read_bytes())
    job.update(digest=hashlib.sha256(document).hexdigest(), digests=forms_of(job))
    keys = {fingerprint(key): key for key in (read_key(Path(path).read_text(encoding="utf-8")) for path in given.key)}
    print(f"job {verdict['job']}, digest {job['digest']}, {job['quorum']['agree']} must agree")
    good = not (given.uuid and given.uuid != verdict["uuid"])
    for task in verdict["tasks"]:
        good &= one_task(task, verdict, job, keys, given.results)
    return 0 if good else 1


def numbered(name: str, replicas: Any) -> bool:  # noqa: ANN401
    """Say whether no replica of a task is left out, as far as their numbers show it."""
    numbers = [replica["number"] for replica in replicas]
    if numbers == list(range(1, len(numbers) + 1)):
        return True
    print(f"{name}: OMITTED: replicas are numbered 1, 2, 3, and some are not here")
    return False


def one_task(task: Any, verdict: Any, job: Any, keys: dict[str, bytes], results: Path | None) -> bool:  # noqa: ANN401
    """Check the statements of one task; say what they come to, and whether it is what the verdict says."""
    job_id, index = verdict["job"], task["task"]
    groups: dict[bytes, dict[int, tuple[str, dict[str, Any]]]] = defaultdict(dict)
    good = True
    for replica in task["replicas"]:
        name = f"{job_id}_{index}.{replica['number']}"
        found = sorted(HERE.glob(f"{name}.dsse.json")) + sorted(HERE.glob(f"{name}.[0-9]*.dsse.json"))
        if replica["statements"] != len(found):
            print(f"{name}: OMITTED: the coordinator had {replica['statements']} statements, and {len(found)} are here")
            good = False
        if not found:
            print(f"{name}: no statement ({replica['execution']}: {replica['reason'] or 'it says no more'})")
        if len(found) > 1:
            print(f"{name}: void, it signed {len(found)} different statements")
            continue
        for envelope in found:
            try:
                node, vote, said = check(envelope, job, verdict["uuid"], keys)
                if overruled(replica):
                    print(f"{name}: signed by {node}, and has no vote: {replica['reason']}")
                    continue
                groups[vote][replica["number"]] = node, said
                print(f"{name}: signed by {node}, isolation {isolation(said)}")
            except (Bad, ValueError, KeyError, TypeError, IndexError) as error:
                print(f"{name}: no proof: {error}")
                good &= replica["validation"] != "valid"
    good &= numbered(f"{job_id}_{index}", task["replicas"])
    if task["state"] in {"accepted", "failed", "inconclusive"}:
        try:
            print(f"{job_id}_{index}: verdict signed by {check_verdict(f'{job_id}_{index}', task, verdict, job)}")
        except (Bad, ValueError, KeyError, TypeError, IndexError, OSError) as error:
            print(f"{job_id}_{index}: the verdict is not proved: {error}")
            good = False
    good &= check_again(f"{job_id}_{index}", task, verdict)
    enough = agreed(task, job_id, job, groups, results)
    return good and enough


def agreed(task: Any, job_id: int, job: Any, groups: Any, results: Path | None) -> bool:  # noqa: ANN401
    """Count the largest group; compare the published files with what it signed."""
    index = task["task"]
    size, best = 0, {}
    for members in groups.values():
        count = len(members) if job["quorum"]["distinct"] == ["run"] else len({node for node, _ in members.values()})
        if count > size:
            size, best = count, members
    needed = job["quorum"]["agree"]
    print(f"{job_id}_{index}: {size} agree, {needed} needed; the verdict: {task['state']}: {task['reason']}")
    if task["state"] != "accepted":
        return True
    if size < job["quorum"]["agree"]:
        return False
    if results is None:
        return True
    source = best.get(task["published_from"])
    bad = ["by none of those who agree"] if source is None else files_of(results, source[1], index, job_id)
    print(f"{job_id}_{index}: published files: {', '.join(bad) or 'as signed'}")
    return not bad


def overruled(replica: Any) -> bool:  # noqa: ANN401
    """Say whether the scheduler's word on how a replica ended, or a wrong tag, took its vote away."""
    return (replica["why"] or {}).get("code") in {"replica.overruled", "replica.not_possessed"}


def isolation(statement: dict[str, Any]) -> str:
    """Return how the command was kept apart."""
    return str(statement["predicate"]["buildDefinition"]["internalParameters"]["isolation"])


if __name__ == "__main__":
    sys.exit(main())
