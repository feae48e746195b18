"""spython in a process of its own, since it prints and exits where it likes: a plain Dockerfile in, sections out.

    python -I -m nexapod_batch.images.recipes.spython_child FILE < ASSIGNMENTS

The header of what it writes is left out: it knows no base but Docker Hub's.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Print the sections of a definition file for the Dockerfile that is named; exit code 3 without spython."""
    try:
        from spython.main.parse.parsers.docker import DockerParser  # noqa: PLC0415 - its absence is an answer
        from spython.main.parse.writers.singularity import SingularityWriter  # noqa: PLC0415
    except ImportError:
        sys.exit(3)
    assignments = set(sys.stdin.read().splitlines())
    recipe = DockerParser(sys.argv[1]).recipe
    for stage in recipe.values():
        # What ENV and ARG set, the commands of RUN must see.
        stage.install = [f"export {line}" if line in assignments else line for line in stage.install]
        if stage.entrypoint is None and stage.cmd is not None:  # else CMD becomes arguments of the default shell
            stage.entrypoint, stage.cmd = stage.cmd, None
    _, found, sections = SingularityWriter(recipe).convert(runscript="/bin/sh").partition("\n%")
    sys.stdout.write(found.strip() + sections + "\n")


if __name__ == "__main__":
    main()
