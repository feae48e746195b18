"""`[job] reproducible`: what it pins, for how many threads, and what is the job's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexapod_batch.config.job.descriptor import parse, parse_document
from nexapod_batch.errors import DescriptorError

HEAD = 'schema = 1\n[job]\ncommand = ["true"]\n'
PINNED = {
    "SOURCE_DATE_EPOCH": "315532800", "TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0",
    "OMP_DYNAMIC": "FALSE",
}  # fmt: skip
THREADS = {f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "GOTO", "MKL", "BLIS", "NUMEXPR", "JULIA")}


@pytest.mark.parametrize(("more", "threads"), [("", "1"), ("[resources]\ncpus_per_task = 4\n", "4")])
def test_what_is_pinned(more: str, threads: str) -> None:
    """Clock, place, hash seed, and as many threads as the job has CPUs."""
    parsed = parse(f"{HEAD}reproducible = true\n{more}", Path("/"))
    assert dict(parsed.job.env) == PINNED | dict.fromkeys(THREADS, threads)
    assert parsed.warnings == ()


@pytest.mark.parametrize("text", [HEAD, f"{HEAD}reproducible = false\n"])
def test_nothing_is_pinned_without_it(text: str) -> None:
    """The job's environment is what it says."""
    assert parse(text, Path("/")).job.env == ()


def test_what_the_job_says_wins_and_is_told() -> None:
    """Another value is a warning; the same value is none."""
    parsed = parse(f'{HEAD}reproducible = true\n[job.env]\nTZ = "Asia/Seoul"\nPYTHONHASHSEED = 0\nMINE = "x"\n', Path("/"))
    env = dict(parsed.job.env)
    assert (env["TZ"], env["PYTHONHASHSEED"], env["MINE"], env["LC_ALL"]) == ("Asia/Seoul", "0", "x", "C.UTF-8")
    assert parsed.warnings == ("job.env: TZ is 'Asia/Seoul', not 'UTC' as job.reproducible pins it",)


def test_it_comes_as_data_as_well() -> None:
    """The API's JSON has the same key; another type is refused."""
    parsed = parse_document({"schema": 1, "job": {"command": ["true"], "reproducible": True}}, Path("/"))
    assert dict(parsed.job.env)["TZ"] == "UTC"
    with pytest.raises(DescriptorError):
        parse_document({"schema": 1, "job": {"command": ["true"], "reproducible": "yes"}}, Path("/"))
