"""What a command left to go on from when it was stopped before it was done: found and digested, and put back later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import UnsafeOutputError
from nexapod_batch.files import output_files
from nexapod_batch.runner.execution.stage import stage_file
from nexapod_batch.trust.statement import Outcome, SavedFile
from nexapod_batch.trust.statement_rules import MAX_SAVED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.model.job import Checkpoint
    from nexapod_batch.model.replica import Continuation

__all__ = ["End", "put_back", "stopped"]


class End(NamedTuple):
    """How a replica ended that may go on later: its outcome, why, and what it saved."""

    outcome: Outcome
    detail: str
    saved: tuple[SavedFile, ...] = ()


def put_back(continues: Continuation, paths: Mapping[str, str], root: str) -> None:
    """Put the files of a saved state where they were left, over inputs of the same names; errors as of `stage_file`."""
    for name, sha256 in continues.files:
        target = Path(root, name)
        target.unlink(missing_ok=True)
        stage_file(f"saved state {name!r}", paths[sha256], target, sha256)


def stopped(
    checkpoint: Checkpoint, began_from: Continuation | None, outcome: Outcome, detail: str, exit_code: int | None,
    root: str,
) -> End:  # fmt: skip
    """Return what becomes of a replica that did not end well.

    One whose time was over, or that says by its exit code that it is not done, is no failure if it saved a state that
    is not the one from which it began: another attempt goes on from there.
    """
    asks = outcome is Outcome.FAILED and exit_code == checkpoint.exit_code
    if not asks and outcome not in {Outcome.TIME, Outcome.PREEMPTED}:
        return End(outcome, detail)
    try:
        saved = _saved(checkpoint, root)
    except (UnsafeOutputError, OSError) as error:
        return End(outcome, f"{detail}; its state cannot be saved: {error}".replace("\n  -> ", ". "))
    if not saved:
        return End(outcome, f"{detail}; it left no state (checkpoint.path)")
    if outcome is Outcome.PREEMPTED:
        return End(outcome, detail, saved)
    if _is_same(began_from, saved):
        return End(outcome, f"{detail}; it got no further than the state from which it began")
    why = "it saved its state and is not done" if asks else detail
    return End(Outcome.PREEMPTED, f"{why}: to go on from what it saved", saved)


def _is_same(began_from: Continuation | None, saved: tuple[SavedFile, ...]) -> bool:
    """Say whether a state is the one from which its replica began."""
    return began_from is not None and began_from.files == tuple([(file.name, file.sha256) for file in saved])


def _saved(checkpoint: Checkpoint, root: str) -> tuple[SavedFile, ...]:
    folder = Path(root)
    names = [file.name for file in output_files.find(folder, checkpoint.paths, optional=True)]
    if len(names) > MAX_SAVED:
        raise UnsafeOutputError("it has too many files", got=len(names), wanted=f"at most {MAX_SAVED}: pack them")
    output_files.check_no_log(names)
    digests = output_files.digest_tree(folder, names)
    return tuple(sorted(SavedFile(*digest) for digest in digests))
