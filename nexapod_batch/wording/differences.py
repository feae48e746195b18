"""In what outputs of replicas differ, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.wording.figures import figure_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["difference_lines", "file_lines"]


def difference_lines(documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is known of replicas that differ, two at a time."""
    for document in documents:
        if "text" in document:
            yield from document["text"]
            continue
        yield _who(document)
        if document["problem"]:
            yield f"  its files cannot be compared: {document['problem']}"
        labels = ("accepted", "rejected") if document["accepted"] else ("first", "other")
        yield from (f"  {line}" for line in file_lines(document["files"], labels))


def _who(document: Mapping[str, Any]) -> str:
    if not document["accepted"]:
        number, first = (document[key].rpartition(".")[2] for key in ("replica", "against"))
        return f"replica {number} differs from replica {first}:"
    node = f"node {document['node']} (owner {document['owner']}, {document['node_key']})"
    return f"{document['replica']} on {node} disagrees with accepted replica {document['against']}:"


def file_lines(files: Sequence[Mapping[str, Any]], labels: tuple[str, str]) -> Iterator[str]:
    """Yield lines for each file that differs: where, what either side (named by `labels`) says there, by how much."""
    for comparison in files:
        name = comparison["name"]
        if "only_of" in comparison:
            who = labels[0] if comparison["only_of"] == "left" else "other"
            yield f"{name}: only {who} replica has it"
        elif "unreadable" in comparison:
            yield f"{name}: {comparison['unreadable']}"
        elif first := comparison.get("first"):
            if printed := comparison.get("printed_by"):
                yield f"{name}: what {printed} printed of it differs, and is not kept; of the files:"
            yield f"{name}, {first['where']}: {labels[0]} {first['left']}, {labels[1]} {first['right']}"
            yield from figure_lines(comparison)
