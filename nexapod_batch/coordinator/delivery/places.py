"""Where results may be delivered to: below what the settings of the account allow, and nowhere else."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from nexapod_batch.config.settings import settings
from nexapod_batch.errors import ConfigError
from nexapod_batch.model.destination import S3, is_within, place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job

__all__ = ["check_allowed", "check_destination", "is_allowed"]

#: Stands for the UUID of a job that has none yet.
_ANY_UUID = "00000000-0000-0000-0000-000000000000"


def is_allowed(place: str, allowed: Sequence[str]) -> bool:
    """Say whether a place, or what its links lead to, lies below one that the settings allow."""
    if place.startswith(S3):
        return any(is_within(place, one) for one in allowed)
    real = os.path.realpath(place)
    folders = [one for one in allowed if not one.startswith(S3)]
    return any(is_within(place, one) and is_within(real, os.path.realpath(one)) for one in folders)


def check_destination(c: Coordinator, job: Job) -> None:
    """Refuse a job whose results may not be delivered where it wants them, or cannot be from here.

    Raises:
        ConfigError: It is not allowed, or needs what is not installed.

    """
    check_allowed(place_of(job.results_to, job=1, name=job.name, uuid=_ANY_UUID), settings(c.paths).delivery)
    if job.results_to.startswith(S3) and find_spec("obstore") is None:
        hint = "pip install 'nexapod-batch[s3]'"
        raise ConfigError("delivery to s3:// needs what is not installed", got=job.results_to, hint=hint)


def check_allowed(place: str, allowed: Sequence[str]) -> None:
    """Refuse a place that the settings of this account do not allow.

    Raises:
        ConfigError: It is not allowed.

    """
    if is_allowed(place, allowed):
        return
    listed = ", ".join(allowed) or "nowhere"
    raise ConfigError(
        "results may not be delivered there", got=place, wanted=f"a place below: {listed}",
        hint='config.toml says where they may go, as in [delivery] allow = ["/project/x", "s3://bucket/prefix"]',
    )  # fmt: skip
