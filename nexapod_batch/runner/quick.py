"""Where Slurm jobs that the version before queued look for the fast start."""

import os

_FAST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "startup", "fast_start.py")

if __name__ == "__main__":
    with open(_FAST, "rb") as stream:
        exec(compile(stream.read(), _FAST, "exec"))  # noqa: S102 - our own file, beside this one
