"""A Job as a plain document and back: what is pinned by digest, kept in the store and sent to runners.

The document is JSON without floats (tolerances travel as their shortest decimal text) and with sorted keys, so that
`json.dumps(..., sort_keys=True, separators=(",", ":"), ensure_ascii=False)` of it is its RFC 8785 form.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.model.job import (
    Array,
    Checkpoint,
    Comparator,
    CompareRule,
    Container,
    Dependency,
    Domain,
    Elements,
    Input,
    Isolation,
    Job,
    NumericClass,
    Output,
    PolicyName,
    Program,
    QuorumPolicy,
    Resources,
    Schedule,
    Tier,
)

if TYPE_CHECKING:
    from nexapod_batch.model.publication import Publication

__all__ = ["PartedDocument", "canonical", "digest", "digests", "form_of", "from_document", "parted", "to_document"]

Document = dict[str, Any]

#: Digests of the forms of jobs that were looked up, by the digest of today: thousands of statements ask for one job.
_forms: dict[str, frozenset[str]] = {}
_FORMS_KEPT = 16
_INPUTS_KEY, _NO_INPUTS = b'"inputs":', b"[]"


def canonical(document: Document) -> bytes:
    """Return the RFC 8785 bytes of a document of strings, integers, booleans, null, lists and ASCII-keyed objects."""
    from msgspec.json import encode  # noqa: PLC0415 - no runner makes a document

    return encode(document, order="sorted")


class PartedDocument(NamedTuple):
    """The canonical document of a job with thousands of inputs, which others may have as well."""

    body: bytes  # the document with an empty list of inputs
    at: int  # after so many bytes of it that list stands
    inputs: bytes  # the list

    @property
    def whole(self) -> bytes:
        """Return the bytes that the digest covers."""
        return b"".join(self._parts())

    @property
    def digest(self) -> str:
        """Return the digest of the whole, which is not made for that."""
        found = hashlib.sha256()
        for part in self._parts():
            found.update(part)
        return found.hexdigest()

    def _parts(self) -> tuple[bytes, bytes, bytes]:
        return self.body[: self.at], self.inputs, self.body[self.at + len(_NO_INPUTS) :]


def parted(job: Job) -> PartedDocument:
    """Return `canonical(to_document(job))` in parts, for a job with thousands of inputs in half the time."""
    from itertools import starmap  # noqa: PLC0415 - no runner makes a document

    from msgspec.json import encode  # noqa: PLC0415
    from msgspec.structs import replace  # noqa: PLC0415

    from nexapod_batch.model.input_document import InputDocument  # noqa: PLC0415

    body = canonical(to_document(replace(job, inputs=())))
    # No text of a document has quotes that are not escaped, and no key before this one is of that name.
    at = body.index(_INPUTS_KEY + _NO_INPUTS) + len(_INPUTS_KEY)
    return PartedDocument(body, at, encode(list(starmap(InputDocument, job.inputs)), order="sorted"))


def digest(document: bytes) -> str:
    """Return the job digest: hex SHA-256 of the canonical document."""
    return hashlib.sha256(document).hexdigest()


def to_document(job: Job) -> Document:
    """Return the document of a job; everything that decides a result is in it."""
    return {
        "schema": 1,
        "name": job.name,
        "command": list(job.command),
        "script": job.script,
        "workdir": job.workdir,
        # Only where they are said: others keep the digest that they always had.
        **{name: said for name, said, usual in _customs(job) if said != usual},
        "env": _lists(job.env),
        "labels": _lists(job.labels),
        "resources": _resources_document(job.resources),
        "container": None if job.container is None else _container_document(job.container),
        "array": None if job.array is None else _array_document(job.array),
        "quorum": _quorum_document(job.quorum),
        "inputs": [_input(job_input) for job_input in job.inputs],
        "outputs": [_output(output) for output in job.outputs],
        "schedule": _schedule_document(job.schedule),
        "sites": [[name, _lists(settings)] for name, settings in job.sites],
        **_unless("", "path", job.path),
        **({} if job.program is None else {"program": job.program._asdict()}),
        **_elements_document(job),
        **({"results": {"to": job.results_to}} if job.results_to else {}),
        **_publication_document(job),
        **_checkpoint_document(job.checkpoint),
    }


def _resources_document(resources: Resources) -> Document:
    document: Document = {
        "tier": resources.tier.value,
        "nodes": resources.nodes,
        "ntasks": resources.ntasks,
        "cpus_per_task": resources.cpus_per_task,
        "mem_mib": resources.mem_mib,
        "gpus": resources.gpus,
        "gpu_type": resources.gpu_type,
        "time_s": resources.time_s,
        "disk_mib": resources.disk_mib,
    }
    if resources.gpu_mem_mib is not None:
        document["gpu_mem_mib"] = resources.gpu_mem_mib
    return document


def _quorum_document(quorum: QuorumPolicy) -> Document:
    return {
        "agree": quorum.agree,
        "replicas": quorum.replicas,
        "max_replicas": quorum.max_replicas,
        "max_errors": quorum.max_errors,
        "max_lost": quorum.max_lost,
        "deadline_s": quorum.deadline_s,
        "distinct": [field.value for field in quorum.distinct],
        "class": quorum.numeric_class.value,
        **_unless("none", "min_isolation", quorum.min_isolation.value),
        **_unless("strict", "policy", quorum.policy.value),
    }


def _schedule_document(schedule: Schedule) -> Document:
    document: Document = {
        "priority": schedule.priority,
        "hold": schedule.hold,
        "depends_on": [{"job": d.job, "when": d.when} for d in schedule.depends_on],
    }
    if schedule.sites:  # only where it is said: a job that goes anywhere keeps the digest that it always had
        document["sites"] = list(schedule.sites)
    return document


def _elements_document(job: Job) -> Document:
    if job.elements is None:
        return {}
    sources, tasks, forms = job.elements
    listed = {"sources": [_input(source) for source in sources], "tasks": list(tasks), "forms": list(map(list, forms))}
    return {"elements": listed}


def _elements(document: Document) -> Elements | None:
    if "elements" not in document:
        return None
    listed = document["elements"]
    sources = tuple([Input(**source) for source in listed["sources"]])
    forms = tuple([(inputs, tasks) for inputs, tasks in listed["forms"]])
    return Elements(sources=sources, tasks=tuple(listed["tasks"]), forms=forms)


def digests(document: bytes) -> frozenset[str]:
    """Return the digests of all forms that a document had since something of the job could be placed.

    One whose tasks get their inputs one after the other grows; each form is the beginning of the next one.
    """
    if b'"elements"' not in document:
        return frozenset({digest(document)})
    last = json.loads(document)
    inputs, elements = last["inputs"], last.get("elements", {"forms": [], "tasks": []})
    forms, tasks = elements["forms"], elements["tasks"]
    found = {digest(document)}
    for number, (n_inputs, n_tasks) in enumerate(forms, 1):
        of_then = {**elements, "tasks": tasks[:n_tasks], "forms": forms[:number]}
        found.add(digest(canonical({**last, "inputs": inputs[:n_inputs], "elements": of_then})))
    return frozenset(found)


def form_of(candidate: str, job_digest: str, job: Job) -> str:
    """Return the digest that what was signed by `candidate` must name.

    That is `candidate` itself, where it is that of an earlier form of the job's document, else the one of today.
    """
    if candidate == job_digest or job.elements is None:
        return job_digest
    if job_digest not in _forms:
        if len(_forms) >= _FORMS_KEPT:
            _forms.clear()
        document = canonical(to_document(job))
        _forms[job_digest] = digests(document) if digest(document) == job_digest else frozenset()
    if candidate in _forms[job_digest]:
        return candidate
    return job_digest


def _publication_document(job: Job) -> Document:
    if job.publication is None:
        return {}
    from nexapod_batch.model.publication import publication_document  # noqa: PLC0415 - no runner needs it

    return {"publication": publication_document(job.publication)}


def _checkpoint_document(checkpoint: Checkpoint | None) -> Document:
    if checkpoint is None:
        return {}
    return {"checkpoint": {**checkpoint._asdict(), "paths": list(checkpoint.paths)}}


def _checkpoint(document: Document) -> Checkpoint | None:
    if "checkpoint" not in document:
        return None
    said = document["checkpoint"]
    return Checkpoint(**{**said, "paths": tuple(said["paths"])})


def _publication(document: Document) -> Publication | None:
    if "publication" not in document:
        return None
    from nexapod_batch.model.publication import publication_of  # noqa: PLC0415 - no runner needs it

    return publication_of(document["publication"])


def _unless(default: str, key: str, value: str) -> dict[str, str]:
    """Return a key where it says something: left out, a job keeps the digest that it had before there was the key."""
    if value == default:
        return {}
    return {key: value}


def _input(job_input: Input) -> dict[str, Any]:
    """Return an input; what is said of few inputs stands only there, as it was not always told."""
    source, target, sha256, executable, only, verdict = job_input  # for thousands, a third of the time
    document: dict[str, Any] = {"source": source, "target": target, "sha256": sha256}
    if executable:
        document["executable"] = True
    if only is not None:
        document["only"] = only
    if verdict:
        document["verdict"] = verdict
    return document


def _container_document(container: Container) -> Document:
    return {
        "image": container.image,
        "sha256": container.sha256,
        "network": container.network,
        **_unless("container", "isolation", container.isolation),
        **({"bind": list(container.bind)} if container.bind else {}),
    }


def _array_document(array: Array) -> Document:
    return {
        "ranges": [list(part) for part in array.ranges],
        "matrix": [[name, list(values)] for name, values in array.matrix],
        "values": [_lists(row) for row in array.values],
        "max_running": array.max_running,
    }


def from_document(document: Document) -> Job:
    """Return the job of a document that `to_document` made; KeyError, TypeError or ValueError for any other."""
    quorum, container, array, schedule = (document[key] for key in ("quorum", "container", "array", "schedule"))
    return Job(
        name=document["name"],
        command=tuple(document["command"]),
        script=document["script"],
        workdir=document["workdir"],
        stdin=document.get("stdin", ""),
        left_over=document.get("left_over", "wait"),
        home=document.get("home", "work"),
        env=_pairs(document["env"]), labels=_pairs(document["labels"]),
        resources=Resources(**{**document["resources"], "tier": Tier(document["resources"]["tier"])}),
        container=Container(**{**container, "bind": tuple(container.get("bind", ()))}) if container else None,
        array=_array(array) if array else None,
        quorum=QuorumPolicy(
            **{key: quorum[key] for key in quorum if key not in {"distinct", "class", "min_isolation", "policy"}},
            distinct=tuple(map(Domain, quorum["distinct"])),
            numeric_class=NumericClass(quorum["class"]),
            min_isolation=Isolation(quorum.get("min_isolation", "none")),
            policy=PolicyName(quorum.get("policy", "strict")),
        ),
        inputs=tuple(Input(**job_input) for job_input in document["inputs"]),
        outputs=tuple(map(_output_of, document["outputs"])),
        schedule=Schedule(
            priority=schedule["priority"],
            hold=schedule["hold"],
            depends_on=tuple(Dependency(**one) for one in schedule["depends_on"]),
            sites=tuple(schedule.get("sites", ())),
        ),
        sites=tuple((name, _pairs(settings)) for name, settings in document["sites"]),
        path=document.get("path", ""),
        program=Program(**document["program"]) if "program" in document else None,
        publication=_publication(document),
        elements=_elements(document),
        results_to=document.get("results", {}).get("to", ""),
        checkpoint=_checkpoint(document),
    )


def _customs(job: Job) -> tuple[tuple[str, str, str], ...]:
    return ("stdin", job.stdin, ""), ("left_over", job.left_over, "wait"), ("home", job.home, "work")


def _lists(pairs: tuple[tuple[str, str], ...]) -> list[list[str]]:
    """Return pairs as JSON has them."""
    return [list(pair) for pair in pairs]


def _pairs(rows: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in rows)


def _output(output: Output) -> Document:
    document = {"path": output.path, **_rule_document(output.rule)}
    if output.optional:
        document["optional"] = True
    return document


def _output_of(document: Document) -> Output:
    return Output(path=document["path"], rule=_rule(document), optional=document.get("optional", False))


def _rule_document(rule: CompareRule) -> Document:
    document: Document = {
        "compare": rule.comparator.value,
        "digits": rule.digits,
        "rtol": None if rule.rtol is None else repr(rule.rtol),
        "atol": None if rule.atol is None else repr(rule.atol),
    }
    if rule.integers != "exact":  # left out where it says nothing: documents of before keep their digests
        document["integers"] = rule.integers
    if rule.ignore:
        document["ignore"] = list(rule.ignore)
    for key in ("delimiter", "decimal", "comments", "quoted_numbers", "unordered"):
        if value := getattr(rule, key):
            document[key] = value
    if rule.normalize:
        document["normalize"] = list(rule.normalize)
    return document


def _rule(document: Document) -> CompareRule:
    return CompareRule(
        comparator=Comparator(document["compare"]),
        digits=document["digits"],
        rtol=None if document["rtol"] is None else float(document["rtol"]),
        atol=None if document["atol"] is None else float(document["atol"]),
        integers=document.get("integers", "exact"),
        ignore=tuple(document.get("ignore", ())),
        delimiter=document.get("delimiter", ""),
        decimal=document.get("decimal", ""),
        comments=document.get("comments", ""),
        quoted_numbers=document.get("quoted_numbers", False),
        normalize=tuple(document.get("normalize", ())),
        unordered=document.get("unordered", False),
    )


def _array(document: Document) -> Array:
    return Array(
        ranges=tuple((first, last, step) for first, last, step in document["ranges"]),
        matrix=tuple((name, tuple(values)) for name, values in document["matrix"]),
        values=tuple(_pairs(row) for row in document["values"]),
        max_running=document["max_running"],
    )
