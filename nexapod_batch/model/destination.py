"""Where results are delivered to, as a descriptor and the settings spell it: a folder, or a bucket and a prefix. Pure.

`{job}`, `{name}` and `{uuid}` are those of the job. A destination without any gets a place of its own for each job.
"""

from __future__ import annotations

import re

from nexapod_batch.model.placeholders import expand, names_in

__all__ = ["S3", "destination_fault", "is_within", "place_of"]

S3 = "s3://"
#: What a destination may name.
_VALUES = frozenset({"job", "name", "uuid"})
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def destination_fault(text: str) -> str:
    """Return why a text is no destination, in a few words; "" where it is one."""
    bucket, slash, path = text.removeprefix(S3).partition("/")
    if text.startswith(S3):
        if not _BUCKET.fullmatch(bucket):
            return "names no bucket"
    elif not text.startswith("/"):
        return "is no absolute path and no s3:// URL"
    parts = path.rstrip("/").split("/") if slash and path else []
    if {"", ".", ".."} & set(parts) or any(char < " " or char == "\x7f" for char in text):
        return "has parts that no name has"
    if {"?", "#"} & set(text) and text.startswith(S3):
        return "may have no query"
    return _placeholder_fault(text)


def _placeholder_fault(text: str) -> str:
    """Return which placeholder of a text cannot be filled in; "" where all can."""
    try:
        unknown = set(names_in(text)) - _VALUES
    except ValueError as error:
        return str(error)
    if unknown:
        return f"has no value for {{{min(unknown)}}}"
    return ""


def place_of(text: str, *, job: int, name: str, uuid: str, made: int = 0) -> str:
    """Return where a delivery of a job goes; the one after `made` earlier ones has a number at its end.

    Args:
        text: A destination in which nothing is wrong.
        job: Number of the job.
        name: Its name.
        uuid: Its UUID.
        made: How many deliveries of it there were before.

    """
    values = {"job": str(job), "name": name, "uuid": uuid}
    place = text.rstrip("/")
    if not names_in(text):
        place += "/{name}-{job}"
    place = expand(place, values)
    if made:
        return f"{place}.{made + 1}"
    return place


def is_within(place: str, allowed: str) -> bool:
    """Say whether a place is one that is allowed, or lies below it; nothing is looked up."""
    top = allowed.rstrip("/")
    return place.rstrip("/") == top or place.startswith(f"{top}/")
