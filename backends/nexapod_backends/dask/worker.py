"""`python -I -m nexapod_backends.dask.worker ADDRESS ...`: Dask's own worker, without the configuration of the account.

The same options as `dask worker`. See `scheduler.clean_config` for what is left out.
"""

from __future__ import annotations

import sys

from nexapod_backends.dask.scheduler.clean_config import unconfigured


def main() -> None:
    """Run the worker."""
    with unconfigured():
        from distributed.cli.dask_worker import main as run  # noqa: PLC0415 - only inside
    run.main(sys.argv[1:], prog_name="dask worker")


if __name__ == "__main__":
    main()
