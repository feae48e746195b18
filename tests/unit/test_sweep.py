"""A test run that is killed leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SWEEP = Path(__file__).parents[1] / "sweep.py"


def test_what_a_killed_run_started_is_ended_and_its_folder_goes(tmp_path: Path) -> None:
    """Daemons that left their session, by command line, environment or folder; a process elsewhere stays."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "file").write_text("x")
    run = subprocess.Popen(["sleep", "600"], cwd="/")
    started = [
        subprocess.Popen(["sleep", "601"], cwd=folder, start_new_session=True),
        subprocess.Popen(["sleep", "602"], cwd="/", env={"HOME": f"{folder}/home", "PATH": "/usr/bin:/bin"}),
        subprocess.Popen(["sh", "-c", "sleep 603; true", f"{folder}/argument"], cwd="/"),
    ]
    other = subprocess.Popen(["sleep", "604"], cwd=tmp_path)
    sweep = subprocess.Popen([sys.executable, str(SWEEP), str(run.pid), str(folder)], cwd="/")
    try:
        assert sweep.poll() is None
        assert folder.is_dir()
        run.kill()
        run.wait()
        deadline = time.monotonic() + 120
        while any(one.poll() is None for one in started) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [one.poll() for one in started] == [-9, -9, -9]
        assert sweep.wait(60) == 0
        assert not folder.exists()
        assert other.poll() is None
    finally:
        for one in (run, sweep, other, *started):
            one.kill()
            one.wait()
