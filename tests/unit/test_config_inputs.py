"""[[inputs]] that are several files: one for each task, those of a glob, outputs of other jobs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.errors import DescriptorError
from nexapod_batch.files import input_names
from nexapod_batch.model.document import canonical, from_document, to_document
from nexapod_batch.model.job import Dependency, Job, TaskInputs
from nexapod_batch.model.job_source import with_numbers

HEAD = 'schema = 1\n[job]\ncommand = ["true"]\n'
SAMPLES = '[array]\nmatrix = { sample = ["a", "b"] }\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with some files."""
    for name in ("fq/a.fq", "fq/b.fq", "data/x", "data/deep/y", "data/.hidden", "odd[1].csv", "{sample}"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path


def inputs(source: str, target: str = "", more: str = "") -> str:
    """Return the text of an [[inputs]]."""
    placed = f'target = "{target}"\n' if target else ""
    return f'[[inputs]]\nsource = "{source}"\n{placed}{more}'


def job_of(text: str, folder: Path, jobs: dict[str, int] | None = None) -> Job:
    """Return the job of a descriptor, as it comes back from its document."""
    job = parse(HEAD + text, folder, jobs=jobs).job
    again = from_document(json.loads(canonical(to_document(job))))
    assert again == job
    return job


#: Descriptor -> what task 0 and task 1 find in their work folders, and whose bytes.
TAKEN: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "one for each task": (SAMPLES + inputs("fq/{sample}.fq"), {"fq/a.fq": "fq/a.fq"}, {"fq/b.fq": "fq/b.fq"}),
    "under one name": (SAMPLES + inputs("fq/{sample}.fq", "in.fq"), {"in.fq": "fq/a.fq"}, {"in.fq": "fq/b.fq"}),
    "under its task": (SAMPLES + inputs("fq/{sample}.fq", "{task}.fq"), {"0.fq": "fq/a.fq"}, {"1.fq": "fq/b.fq"}),
    "a column that is a path": (
        '[array]\nmatrix = { file = ["data/x", "data/deep/y"] }\n' + inputs("{file}"),
        {"data/x": "data/x"}, {"data/deep/y": "data/deep/y"},
    ),
    "a glob": (SAMPLES + inputs("fq/*.fq"), *({"fq/a.fq": "fq/a.fq", "fq/b.fq": "fq/b.fq"},) * 2),
    "a glob into a folder": (
        SAMPLES + inputs("data/**", "in"), *({"in/x": "data/x", "in/deep/y": "data/deep/y", "in/.hidden": "data/.hidden"},) * 2,
    ),
    "a glob for each task": (SAMPLES + inputs("fq/{sample}*", "in"), {"in/a.fq": "fq/a.fq"}, {"in/b.fq": "fq/b.fq"}),
    "a name with brackets": (SAMPLES + inputs("odd[1].csv"), *({"odd[1].csv": "odd[1].csv"},) * 2),
    "a name with braces": (SAMPLES + inputs("{sample}", "file"), *({"file": "{sample}"},) * 2),
    "shared and own": (
        SAMPLES + inputs("fq/{sample}.fq", "in") + inputs("data/x"),
        {"data/x": "data/x", "in": "fq/a.fq"}, {"data/x": "data/x", "in": "fq/b.fq"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_each_task_gets(folder: Path, name: str) -> None:
    """Its own files, pinned by their bytes, and no others."""
    text, *wanted = TAKEN[name]
    by_task = TaskInputs(job_of(text, folder).inputs)
    for task, files in enumerate(wanted):
        digests = {path: hashlib.sha256(whose.encode()).hexdigest() for path, whose in files.items()}
        assert {one.target.replace("{task}", str(task)): one.sha256 for one in by_task.of(task)} == digests


#: Descriptor -> what its refusal says.
REFUSED = {
    "a task without a file": ('[array]\nmatrix = { sample = ["a", "z"] }\n' + inputs("fq/{sample}.fq"), "z.fq: no such file"),
    "many tasks without": ('[array]\nids = "0-99"\n' + inputs("fq/{task}.fq"), "and 97 more files like these cannot be used"),
    "an unknown name": (SAMPLES + inputs("fq/{smaple}.fq"), "did you mean 'sample'?"),
    "nothing taken": (inputs("fq/*.bam"), "no file here matches 'fq/*.bam'"),
    "a value that leaves": ('[array]\nmatrix = { f = ["../x", "/etc/passwd"] }\n' + inputs("{f}", "a"), "lies outside the folder"),
    "a glob that leaves": (inputs("../*"), "leaves the work folder"),
    "two into one place": (SAMPLES + inputs("fq/a.fq", "in/a.fq") + inputs("fq/*.fq", "in"), "is taken"),
    "digest of several": (inputs("fq/*.fq", "", f'sha256 = "{"0" * 64}"\n'), "the source may be several files"),
    "no such job": (inputs("job:before/x"), "no such job: got 'before'"),
    "no path": (inputs("job:41"), "names no output of a job"),
    "a path that leaves": (inputs("job:41/../x"), "leaves the work folder"),
    "digest of an output": (inputs("job:41/x", "", f'sha256 = "{"0" * 64}"\n'), "not accepted with job:"),
    "outputs of what may fail": (
        '[schedule]\ndepends_on = [{ job = 41, when = "ended" }]\n' + inputs("job:41/x"), "outputs of accepted jobs only",
    ),
    "one below another": (inputs("data/x", "a/b") + inputs("fq/a.fq", "./a"), "one is put at a, and another one below it"),
    "the same job twice": ('[schedule]\ndepends_on = [41, "41"]\n', "job 41 stands there twice"),
    "a job that is no name": ("[schedule]\ndepends_on = [true]\n", "wrong type"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(folder: Path, name: str) -> None:
    """With the reason, before anything is stored."""
    text, wanted = REFUSED[name]
    with pytest.raises(DescriptorError) as refusal:
        parse(HEAD + text, folder)
    assert wanted in str(refusal.value)


def test_too_many_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted over all tasks."""
    assert input_names.MAX_FILES == 20_000
    monkeypatch.setattr("nexapod_batch.config.job.inputs.MAX_FILES", 5)
    with pytest.raises(DescriptorError, match="too many files"):
        parse(f'{HEAD}[array]\nids = "0-5"\n{inputs("data/{task}*")}{inputs("fq/*")}{inputs("data/**")}', folder)


@pytest.mark.parametrize("named", ["41", "before"])
@pytest.mark.parametrize(("task", "kept"), [("", ""), ("_3", "_3"), ("_{task}", "_{task}")])
def test_outputs_of_jobs(folder: Path, named: str, task: str, kept: str) -> None:
    """They are named by number, wait for their digest, and make the job follow."""
    job = job_of('[array]\nids = "0-3"\n' + inputs(f"job:{named}{task}/out/x"), folder, {"before": 41})
    (only,) = job.inputs
    assert (only.source, only.target, only.sha256) == (f"job:41{kept}/out/x", "out/x", "")
    assert job.schedule.depends_on == (Dependency(job=41),)
    assert job.has_open_inputs


def test_a_name_that_ends_in_a_number(folder: Path) -> None:
    """The whole name comes first, then a name with a task."""
    names = {"step_2": 7, "step": 8}
    sources = [job_of(inputs(text), folder, names).inputs[0].source for text in ("job:step_2/x", "job:step_3/x", "job:step_2_3/x")]
    assert sources == ["job:7/x", "job:8_3/x", "job:7_3/x"]


def test_numbers_that_are_given_later(folder: Path) -> None:
    """They take the place of the provisional ones, everywhere."""
    text = '[schedule]\ndepends_on = ["a", 5]\n' + inputs("job:b_{task}/x") + inputs("data/x")
    job = with_numbers(job_of(text, folder, {"a": -1, "b": -2}), {-1: 10, -2: 11})
    assert [one.job for one in job.schedule.depends_on] == [10, 5, 11]
    assert [one.source for one in job.inputs] == ["job:11_{task}/x", str(folder / "data/x")]
    assert with_numbers(job, {}) == replace(job)
