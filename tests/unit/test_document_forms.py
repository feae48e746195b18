"""Documents that grow: every earlier form is found again in the last one, and nothing else counts as one."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from nexapod_batch.model.document import canonical, digest, digests, form_of, from_document, to_document
from nexapod_batch.model.job import Array, Elements, Input, Job

OPEN = Input(source="job:1_{task}/x", target="x", sha256="")


def grown(*sizes: int) -> list[Job]:
    """Return the forms of a job of which so many tasks get their inputs, one group after the other."""
    job = Job(name="j", command=("true",), array=Array(ranges=((0, 9, 1),)), elements=Elements(sources=(OPEN,)))
    found: list[Job] = []
    for size in sizes:
        assert job.elements is not None
        done = len(job.elements.tasks)
        new = tuple([Input(f"job:1_{n}/x", "x", f"{n:064x}", only=n) for n in range(done, done + size)])
        inputs, tasks = (*job.inputs, *new), (*job.elements.tasks, *range(done, done + size))
        elements = Elements(sources=(OPEN,), tasks=tasks, forms=(*job.elements.forms, (len(inputs), len(tasks))))
        job = replace(job, inputs=inputs, elements=elements)
        found.append(job)
    return found


@pytest.mark.parametrize("sizes", [(10,), (1, 9), (3, 3, 4), (1,) * 10])
def test_every_form_is_found(sizes: tuple[int, ...]) -> None:
    """From the last document alone, which also says whether a job waits for more."""
    forms = grown(*sizes)
    documents = [canonical(to_document(form)) for form in forms]
    assert digests(documents[-1]) == {digest(document) for document in documents}
    assert from_document(json.loads(documents[-1])) == forms[-1]
    assert [form.has_open_inputs for form in forms] == [True] * (len(sizes) - 1) + [False]
    last = digest(documents[-1])
    assert {form_of(digest(document), last, forms[-1]) for document in documents} == {digest(one) for one in documents}


def test_nothing_else_is_a_form() -> None:
    """Neither a later form of an earlier document, nor another job's, nor the one before any task was known."""
    first, second = grown(4, 6)
    today = digest(canonical(to_document(first)))
    others = [second, replace(first, name="k"), replace(first, elements=Elements(sources=(OPEN,)), inputs=())]
    for other in others:
        assert form_of(digest(canonical(to_document(other))), today, first) == today


def test_a_document_that_does_not_grow_has_one_form() -> None:
    """Its own."""
    job = Job(name="j", command=("true",))
    document = canonical(to_document(job))
    assert digests(document) == {digest(document)}
    assert form_of("0" * 64, digest(document), job) == digest(document)
