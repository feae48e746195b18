"""What a shell may complete: jobs with their names, tasks, nodes, sites, keys of `--set`; at worst nothing.

Everything is imported by the first use: a shell that completes a word waits for it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.cli.command_table import JOB_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click
    from click.shell_completion import CompletionItem

__all__ = ["columns", "files", "jobs", "keys", "nodes", "sites"]

#: Jobs, and tasks of one, that are offered.
_JOBS, _TASKS = 50, 200


def _item(value: str, **more: str) -> CompletionItem:
    from click.shell_completion import CompletionItem

    return CompletionItem(value, **more)


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a file."""
    return [_item(incomplete, type="file")]


def jobs(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer job ids with name and state, `last` and `all`; behind `42_` its tasks; behind a comma the next one."""
    done, comma, word = incomplete.rpartition(",")
    found: list[CompletionItem] = []
    with suppress(Exception):  # without a database, or with a damaged one, there is nothing to offer
        found = [
            _item(f"{done}{comma}{value}", help=text) for value, text in _jobs(word) if value.startswith(word)
        ]
    return found


def _jobs(word: str) -> Iterator[tuple[str, str]]:
    from nexapod_batch.cli.context import reading
    from nexapod_batch.coordinator.queries import views

    with reading() as store:
        name, underscore, _ = word.partition("_")
        if underscore:
            job = views.last_job(store) if name == "last" else int(name)
            if job is not None:
                for task in views.tasks(store, job, limit=_TASKS, replicas=False)["tasks"]:
                    values = " ".join(f"{key}={value}" for key, value in task["parameters"].items())
                    yield f"{name}_{task['index']}", f"{task['state']} {values}".strip()
            return
        for row in views.jobs(store, _JOBS):
            yield str(row["id"]), f"{row['name']}, {row['state']}"
    yield "last", "the newest job"
    yield "all", "every job"


def nodes(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the registered nodes."""
    found: list[CompletionItem] = []
    with suppress(Exception):
        from nexapod_batch.cli.context import reading
        from nexapod_batch.coordinator.queries import views

        with reading() as store:
            known = [node for node in views.nodes(store) if node["name"].startswith(incomplete)]
        found = [_item(node["name"], help=f"{node['site']}, {node['tier']}") for node in known]
    return found


def sites(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the sites that have a file, and `local`."""
    import os

    names = {"local"}
    with suppress(Exception):
        from nexapod_batch.cli.context import paths

        for folder in paths().sites:
            with suppress(OSError), os.scandir(folder) as entries:
                names.update(entry.name[:-5] for entry in entries if entry.name.endswith(".toml"))
    return [_item(name) for name in sorted(names) if name.startswith(incomplete)]


def keys(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the keys of a descriptor, with what they mean."""
    from nexapod_batch.config.job.descriptor import json_schema

    found = []
    for section, table in json_schema()["properties"].items():
        for key, value in table.get("properties", {}).items():
            name = f"{section}.{key}="
            if name.startswith(incomplete):
                found.append(_item(name, help=value.get("description", "")))
    return found


def columns(_: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the columns of `ls`, one after the other behind commas."""
    done, comma, word = incomplete.rpartition(",")
    sign = "-" if param.name == "sort" and word.startswith("-") else ""
    return [_item(f"{done}{comma}{sign}{name}") for name in JOB_COLUMNS if f"{sign}{name}".startswith(word)]
