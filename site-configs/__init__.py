# ruff: noqa: N999 - the folder's name is for people; the package is nexapod_batch.site_configs
"""Ready site files, to be copied with `nexapod-batch site init --from NAME` and edited; data only."""
