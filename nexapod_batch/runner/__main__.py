"""`python -I -m nexapod_batch.runner SPOOL`: the runner as a program; see `startup.program`."""

import sys

from nexapod_batch import birth

birth.begin()  # before anything else is imported

from nexapod_batch.runner.startup.program import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
