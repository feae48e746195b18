"""Texts of site files and jobs for tests, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.config.site.sites import parse_site
from nexapod_batch.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site

__all__ = ["PARTITIONS", "SITE", "fault", "faults", "head", "job", "read", "texts"]

SITE = """\
schema = 1
[site]
name = "jusuf"
hostnames = ["jusuf*.fz-juelich.de"]
[scheduler]
type = "slurm"
[policy]
max_time = "1-00:00:00"
min_agree = 2
[[partitions]]
name = "batch"
"""

PARTITIONS = """\
[[partitions]]
name = "short"
hosts = 10
max_time = "04:00:00"
max_nodes = 4
max_cpus = 32
max_mem = "120G"
[[partitions]]
name = "long"
hosts = 10
max_time = "7-00:00:00"
max_nodes = 2
max_cpus = 32
max_mem = "120G"
[[partitions]]
name = "gpu"
node = "gpu"
hosts = 2
max_time = "1-00:00:00"
max_cpus = 64
max_mem = "480G"
gpus = 4
gpu_types = ["a100"]
"""


def head(scheduler: str = "", site: str = "") -> str:
    """Return the beginning of a site file with lines added to two sections."""
    return f'schema = 1\n[site]\nname = "x"\n{site}[scheduler]\ntype = "slurm"\n{scheduler}'


def read(text: str) -> Site:
    """Return the site of a text, as a file x.toml."""
    return parse_site(text, Path("x.toml")).site


def faults(text: str) -> list[Problem]:
    """Return the faults of a text that must be refused."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.exit_code == 78
    return list(caught.value.problems)


def fault(text: str) -> str:
    """Return the only fault of a text, as people read it."""
    (found,) = faults(text)
    return str(found)


def job(resources: str = "", site: str = "", quorum: str = "") -> Job:
    """Return a job that asks for something, also on site x alone."""
    text = f'schema = 1\n[job]\ncommand = ["true"]\n[resources]\n{resources}\n[quorum]\n{quorum}\n'
    return parse(text + (f"[site.x.resources]\n{site}\n" if site else ""), Path("/")).job


def texts(problems: Sequence[Problem]) -> list[str]:
    """Return problems as people read them."""
    return [str(one) for one in problems]
