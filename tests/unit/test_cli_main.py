"""The program itself: what is switched off while it starts is on again."""

from __future__ import annotations

import gc

import pytest

from nexapod_batch.cli import main


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["--help"], 0), (["nonsense"], 2), ([], 2)])
def test_garbage_is_collected_after_the_start(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is collected while modules are loaded; a command that runs for days has its garbage collected."""
    kept = gc.get_freeze_count()
    assert main(arguments) == code
    assert gc.isenabled()
    assert gc.get_freeze_count() == kept
    assert "nexapod-batch" in "".join(capsys.readouterr())
