"""`python -I -m nexapod_batch.runner SPOOL`: the runner as a program; see `program.py`."""

import sys

from nexapod_batch import birth

birth.begin()  # before anything else is imported

from nexapod_batch.runner.program import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
