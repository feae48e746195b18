"""The metadata of an archive for other people's programs: RO-Crate 1.3, with the profile Process Run Crate 0.5. Pure.

One CreateAction says what one replica did: when, by whose node, from which inputs, with which end. Files are listed one
by one where a statement lists them; where it signs a manifest, the folder is listed, and the manifest beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from nexapod_batch.coordinator.archives.bag_format import INPUTS, PAYLOAD, PROOF, RESULTS
from nexapod_batch.model.publication import Publication

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.archives.contents import Run, TaskRuns
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.publication import Creator
    from nexapod_batch.store.repositories.jobs import JobRow

__all__ = ["Crate", "iso_time"]

_CONTEXT = ["https://w3id.org/ro/crate/1.3/context", "https://w3id.org/ro/terms/workflow-run/context"]
_CRATE, _PROFILE = "https://w3id.org/ro/crate/1.3", "https://w3id.org/ro/wfrun/process/0.5"
_COMPLETED, _FAILED = "http://schema.org/CompletedActionStatus", "http://schema.org/FailedActionStatus"
_NO_LICENCE = "No licence was stated: ask whoever submitted the job."
#: Characters of a command that are shown as the name of the program.
_SHOWN = 200

Entity = dict[str, Any]


def iso_time(time_ms: int) -> str:
    """Return a time as ISO 8601, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _creator(creator: Creator) -> Entity:
    """Return a person or an organisation."""
    entity: Entity = {"@id": f"#creator-{quote(creator.shown, safe='')}", "name": creator.shown}
    entity["@type"] = "Organization" if creator.name else "Person"
    if creator.orcid:
        entity["@id"] = f"https://orcid.org/{creator.orcid}"
    return entity


class Crate:
    """The graph of one job; tasks are added one by one."""

    def __init__(self, row: JobRow, job: Job, nodes: Mapping[int, Node], kept: Sequence[str]) -> None:
        """Begin the graph of a job, of whose inputs those in `kept`, by digest, are in the archive."""
        self._row, self._job, self._nodes, self._kept = row, job, nodes, set(kept)
        self._parts: list[Entity] = []
        self._actions: list[Entity] = []
        self._entities: dict[str, Entity] = {}
        self._program()
        self._inputs = [self._input(index) for index in range(len(job.inputs))]

    def add(self, task: TaskRuns) -> None:
        """Add what was done for a task, and its published files."""
        name = f"{task.row.job_id}_{task.row.idx}"
        results = self._results(task, name)
        for run in task.replicas:
            if run.said:
                self._action(name, run, results if run.row.number == task.row.published_from else [])

    def text(self) -> bytes:
        """Return the metadata as JSON."""
        graph = [*self._root(), *self._entities.values()]
        return orjson.dumps({"@context": _CONTEXT, "@graph": graph}, option=orjson.OPT_INDENT_2) + b"\n"

    def _root(self) -> Iterator[Entity]:
        row, job = self._row, self._job
        yield {
            "@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": {"@id": "./"},
            "conformsTo": {"@id": _CRATE},
        }  # fmt: skip
        said = job.publication or Publication()
        description = f"Results of job {row.id}, each run on several nodes and accepted where they agreed."
        licence = f"https://spdx.org/licenses/{said.license}" if said.license else "#licence"
        creators = [_creator(creator) for creator in said.creators]
        root: Entity = {
            "@id": "./", "@type": "Dataset", "identifier": f"urn:uuid:{row.uuid}", "name": said.title or job.name,
            "description": said.description or description, "license": {"@id": licence},
            "datePublished": iso_time(row.finished_at or row.created_at),
            "conformsTo": {"@id": _PROFILE}, "mentions": self._actions,
            "hasPart": [*self._parts, {"@id": "proof/"}],
        }  # fmt: skip
        if creators:
            root["author"] = [{"@id": creator["@id"]} for creator in creators]
        if said.keywords:
            root["keywords"] = list(said.keywords)
        yield root
        yield from creators
        name = said.license or _NO_LICENCE
        yield {"@id": licence, "@type": "CreativeWork", "name": name, "description": name}
        yield {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
        yield {
            "@id": "proof/", "@type": "Dataset", "name": "signed statements and verdicts, and the keys",
            "hasPart": [{"@id": "proof/job.json"}],
        }  # fmt: skip
        yield {
            "@id": "proof/job.json", "@type": "File", "name": "the job as it was pinned", "sha256": row.digest,
            "encodingFormat": "application/json",
        }  # fmt: skip

    def _program(self) -> None:
        job = self._job
        shown = " ".join(job.command) or job.script
        program: Entity = {"@id": "#program", "@type": "SoftwareApplication", "name": shown[:_SHOWN]}
        if job.program is not None and job.program.sha256:
            program["sha256"] = job.program.sha256
        if job.container is not None:
            image = {"@id": "#image", "@type": "SoftwareApplication", "name": job.container.image}
            self._entities["#image"] = {**image, "sha256": job.container.sha256}
            program["softwareRequirements"] = {"@id": "#image"}
        self._entities["#program"] = program

    def _input(self, index: int) -> Entity:
        """Add an input; return the reference to it."""
        one = self._job.inputs[index]
        name = f"#input-{one.sha256}"
        if one.sha256 in self._kept:
            name = INPUTS.removeprefix(PAYLOAD) + one.sha256
            if name not in self._entities:
                self._parts.append({"@id": name})
        entity = {"@id": name, "@type": "File", "name": one.target, "sha256": one.sha256, "description": one.source}
        self._entities.setdefault(name, entity)
        return {"@id": name}

    def _results(self, task: TaskRuns, name: str) -> list[Entity]:
        """Add the published files of a task; return the references to them."""
        if task.outputs is None:
            return []
        folder = f"{RESULTS.removeprefix(PAYLOAD)}{task.row.idx}/"
        source = next(run for run in task.replicas if run.row.number == task.row.published_from)
        if source.said[0].manifest:
            manifest = f"{PROOF.removeprefix(PAYLOAD)}{name}.manifest"
            text = {"@id": manifest, "@type": "File", "name": f"SHA-256 of every output of {name}"}
            self._entities[manifest] = {**text, "encodingFormat": "text/plain"}
            entity = {"@id": folder, "@type": "Dataset", "name": f"outputs of {name}", "subjectOf": {"@id": manifest}}
            self._entities[folder] = entity
            self._parts += [{"@id": folder}, {"@id": manifest}]
            return [{"@id": folder}]
        references = []
        for file, digest in sorted(task.outputs.items()):
            path = quote(folder + file)
            self._entities[path] = {"@id": path, "@type": "File", "name": file, "sha256": digest}
            references.append({"@id": path})
        self._parts += references
        return references

    def _action(self, task: str, run: Run, results: list[Entity]) -> None:
        node, said, name = self._nodes[run.row.node_id], run.said[0], f"#{task}.{run.row.number}"
        owner = f"#owner-{quote(node.owner, safe='')}"
        self._entities.setdefault(owner, {"@id": owner, "@type": "Person", "name": node.owner})
        good = said.outcome == "ok"
        action: Entity = {
            "@id": name, "@type": "CreateAction", "name": f"replica {name[1:]} on node {node.name}",
            "instrument": {"@id": "#program"}, "agent": {"@id": owner}, "object": self._inputs, "result": results,
            "startTime": iso_time(said.started_ms), "endTime": iso_time(said.finished_ms),
            "actionStatus": {"@id": _COMPLETED if good else _FAILED},
            "description": f"{said.outcome}, {run.row.validation}; site {node.site}, isolation {said.isolation}",
            "subjectOf": {"@id": f"proof/{name[1:]}.dsse.json"},
        }  # fmt: skip
        if not good and said.detail:
            action["error"] = said.detail
        self._entities[name] = action
        self._actions.append({"@id": name})
