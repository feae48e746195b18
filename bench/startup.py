"""Start-up of the commands that people type most, against `python -c "import click"`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from common import PROGRAM, alternate, fresh_home, header, line, seconds

JOB = 'schema = 1\n[job]\nname = "true"\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n'


def main() -> None:
    """Measure with a store that has jobs in it."""
    header()
    with fresh_home() as env, tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.toml"
        job.write_text(JOB)
        subprocess.run([PROGRAM, "submit", str(job), "--wait"], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        click = [sys.executable, "-c", "import click"]
        completion = {**env, "_NEXAPOD_BATCH_COMPLETE": "bash_complete", "COMP_WORDS": "nexapod-batch s", "COMP_CWORD": "1"}
        for name, argv, bar, environment in (
            ("--version", ["--version"], "<= 1.3", env),
            ("--help", ["--help"], "<= 1.3", env),
            ("ls", ["ls"], "<= 1.3", env),
            ("show 1", ["show", "1"], "<= 1.3", env),
            ("completion", [], "<= 1.3", completion),
            ("submit", ["submit", str(job)], "<= 5", env),
            ("node profile", ["node", "profile"], "<= 5", env),
        ):
            ours, theirs = alternate(
                15, lambda a=argv, e=environment: seconds([PROGRAM, *a], env=e), lambda: seconds(click, env=env)
            )
            line(name, f"{ours * 1000:.0f} ms", f"{theirs * 1000:.0f} ms (import click)", ours / theirs, bar)


if __name__ == "__main__":
    main()
