"""Descriptors as the NexaPod documents have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nexapod_batch.config.job.descriptor import parse_document
from nexapod_batch.errors import DescriptorError
from nexapod_batch.server.nexapod_form import translate


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"command": ["a", "b"]}, {"job": {"command": ["a", "b"]}}),
        ({"command": "a | b"}, {"job": {"command": ["/bin/sh", "-c", "a | b"]}}),
        ({"script": "echo"}, {"job": {"script": "#!/bin/sh\necho"}}),
        ({"script": "#!/usr/bin/python3\n"}, {"job": {"script": "#!/usr/bin/python3\n"}}),
        (
            {"docker_image": "python:3.9"},
            {"job": {"command": ["/.singularity.d/runscript"]}, "container": {"image": "docker://python:3.9"}},
        ),
        ({"image": "oras://r/x:1", "command": ["a"]}, {"job": {"command": ["a"]}, "container": {"image": "oras://r/x:1"}}),
        ({"image": "x.sif", "command": ["a"]}, {"job": {"command": ["a"]}, "container": {"image": "x.sif"}}),
        ({"id": "job_001", "command": ["a"]}, {"job": {"command": ["a"], "name": "job_001"}}),
        ({"id": "j", "name": "n", "command": ["a"]}, {"job": {"command": ["a"], "name": "n"}}),
        ({"command": ["a"], "requirements": {"min_memory_gb": 4}}, {"job": {"command": ["a"]}, "resources": {"mem": "4096MiB"}}),
        ({"command": ["a"], "requirements": {"ram_gb": 0.5}}, {"job": {"command": ["a"]}, "resources": {"mem": "512MiB"}}),
        (
            {"command": ["a"], "requirements": {"gpu_required": True, "timeout_seconds": 60, "min_tier": "CONSUMER_GPU"}},
            {"job": {"command": ["a"]}, "resources": {"gpus": 1, "time": "60s", "tier": "consumer-gpu"}},
        ),
        (
            {"command": ["a"], "requirements": {"mem": "1GiB"}, "resources": {"gpus": 1}},
            {"job": {"command": ["a"]}, "resources": {"gpus": 1, "mem": "1GiB"}},
        ),
        (
            {"command": ["a"], "requirements": {"ram_gb": "4", "storage_gb": "0.5", "timeout_seconds": "60"}},
            {"job": {"command": ["a"]}, "resources": {"mem": "4096MiB", "disk": "512MiB", "time": "60s"}},
        ),
        ({"command": ["a"], "quorum": 3, "image": None}, {"job": {"command": ["a"]}, "quorum": {"agree": 3}}),
        ({"command": ["a"], "outputs": ["x"]}, {"job": {"command": ["a"]}, "outputs": [{"path": "x"}]}),
        (
            {"command": ["a"], "validation": {"redundancy_factor": 3}},
            {"job": {"command": ["a"]}, "quorum": {"replicas": 3, "agree": 2}},
        ),
        (
            {"command": ["a"], "outputs": ["x"], "validation": {"redundancy_factor": 2, "tolerance": 0.01}},
            {
                "job": {"command": ["a"]},
                "outputs": [{"path": "x", "compare": "allclose", "rtol": 0.01}],
                "quorum": {"replicas": 2, "agree": 2},
            },
        ),
        ({"job": {"command": ["a"]}, "quorum": {"agree": 2}}, {"job": {"command": ["a"]}, "quorum": {"agree": 2}}),
    ],
)
def test_what_is_made_of_a_flat_descriptor(given: dict[str, Any], made: dict[str, Any]) -> None:
    """In the keys of ours, which the strict checks take then."""
    assert translate(given)[0] == {"schema": 1, **made}


def test_the_example_of_the_documents_is_a_job() -> None:
    """Word for word; what says nothing about how it is run is named in a note."""
    given = {
        "id": "job_001", "title": "Protein Folding Simulation", "description": "AlphaFold", "docker_image": "nexapod/alphafold:2.3.0",
        "compute_estimate": 1000000000,
        "requirements": {
            "min_tier": "CONSUMER_GPU", "min_memory_gb": 8, "min_storage_gb": 5, "gpu_required": True, "timeout_seconds": 3600,
        },
        "output_path": "/results/", "validation": {"redundancy_factor": 2}, "credits": {"rate": 1.0},
        "metadata": {"submitter": "researcher_alice"},
    }  # fmt: skip
    document, own_id, notes = translate(given)
    job = parse_document(document, Path("/")).job
    assert (own_id, job.name, job.labels) == ("job_001", "job_001", (("title", "Protein Folding Simulation"),))
    assert (job.resources.mem_mib, job.resources.gpus, job.resources.time_s) == (8192, 1, 3600)
    assert (job.quorum.replicas, job.quorum.agree) == (2, 2)
    assert notes == ["not used: compute_estimate, credits, description, metadata, output_path"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"comand": ["a"]}, "comand"),
        ({"command": ["a"], "input_uri": "s3://x"}, "input_uri"),
        ({"command": ["a"], "input_files": ["x"]}, "input_files"),
        ({"command": ["a"], "requirements": {"speed": 1}}, "requirements.speed"),
        ({"command": ["a"], "requirements": [1]}, "requirements"),
        ({"command": ["a"], "requirements": {"ram_gb": 1, "memory_gb": 2}}, "a second time"),
        ({"docker_image": "a", "image": "b"}, "twice"),
        ({"docker_image": 7}, "must be a text"),
        ({"id": 7, "command": ["a"]}, "no id"),
        ({"id": "007", "command": ["a"]}, "no id"),
        ({"id": "a/b", "command": ["a"]}, "no id"),
        ({"id": "a", "job_id": "b", "command": ["a"]}, "no id"),
        ({"command": ["a"], "validation": {"redundancy_factor": 0}}, "redundancy_factor"),
        ({"command": ["a"], "validation": {"redundancy_factor": True}}, "redundancy_factor"),
        ({"command": ["a"], "validation": 3}, "validation"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(given: dict[str, Any], told: str) -> None:
    """Nothing is left out silently that would change what runs."""
    with pytest.raises(DescriptorError, match=told):
        translate(given)


@pytest.mark.parametrize(
    "given",
    [
        {"command": 7}, {"command": None}, {"script": []}, {"command": ["a"], "env": []}, {"command": ["a"], "outputs": "x"},
        {"command": ["a"], "outputs": [7]}, {"command": ["a"], "quorum": []}, {"command": ["a"], "labels": "x"}, {"job": 7}, {},
        {"command": ["a"], "title": 7}, {"command": ["a"], "requirements": {"ram_gb": "many"}}, {"command": ["a"], "resources": 3},
        {"command": ["a"], "requirements": {"tier": 7}}, {"command": ["a"], "labels": "x", "title": "t"},
        {"command": ["a"], "quorum": 3, "validation": {"redundancy_factor": 2}}, {"command": ["a"], "outputs": {"a": 1}},
    ],
)  # fmt: skip
def test_no_value_gives_a_traceback(given: dict[str, Any]) -> None:
    """What the translation lets pass the strict checks refuse."""
    with pytest.raises(DescriptorError):
        parse_document(translate(given)[0], Path("/"))


NONE = {f"k{number}": 1 for number in range(1_000)}


@pytest.mark.parametrize(
    ("given", "last"),
    [
        ({"command": ["a"], **NONE}, "980 more unknown keys"),
        ({"job": {"command": ["a"], **NONE}}, "980 more unknown keys"),
        ({"command": ["a"], "requirements": NONE}, "has 1000 keys: wanted "),
    ],
    ids=["flat", "a section", "requirements"],
)
def test_many_unknown_keys_are_counted(given: dict[str, Any], last: str) -> None:
    """To look for the nearest word for each of them would keep a server busy for minutes."""
    with pytest.raises(DescriptorError) as caught:
        parse_document(translate(given)[0], Path("/"))
    told = caught.value.problems
    assert (len(told) <= 21, told[-1].message.startswith(last)) == (True, True)
