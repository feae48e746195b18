"""The keys of `[dask]` in a site file: where its scheduler is, or how one is started."""

from __future__ import annotations

from nexapod_batch.config.job.job_schema import SITE_NAME
from nexapod_batch.config.schema import Choice, Duration, Key, Table, Text, Whole
from nexapod_batch.config.site_paths import PATH, USER_PATH

__all__ = ["DASK"]

DASK = Table(
    {
        "address": Key(
            Text("tcp://host:port or tls://host:port", pattern=r"(tcp|tls)://[A-Za-z0-9\[][A-Za-z0-9.:\]-]{0,252}:[0-9]{1,5}"),
            "Its scheduler.",
        ),
        "scheduler_file": Key(PATH, "File in which its scheduler wrote where it is."),
        "cluster": Key(
            Choice(["local", "jobqueue"]),
            "Start one instead: on this machine, or with workers that Slurm starts. It ends when it has nothing to do.",
        ),
        "on": Key(Text("the name of a site", pattern=SITE_NAME), "Slurm site whose partitions the workers run in."),
        "workers": Key(Whole(1, 10_000), "Workers to start: processes, or Slurm jobs at most.", 2),
        "threads": Key(Whole(1, 1_000), "Threads, and so CPUs, of each worker to start.", 1),
        "idle": Key(Duration(1, 86_400), "Time without work after which what was started ends.", 300, shown="5m"),
        "tls_ca": Key(PATH, "Certificate of the authority, for `tls://`."),
        "tls_cert": Key(PATH, "Certificate of this client."),
        "tls_key": Key(PATH, "Private key of this client."),
        "local_dir": Key(
            USER_PATH,
            "Folder on the workers, where nothing is shared: all files travel through Dask.",
            shown="`/tmp`, without `work_dir`",
        ),
        "mem_resource": Key(
            Text("letters, digits, `_ -`", pattern=r"[A-Za-z0-9_-]{1,64}"),
            "Dask resource that counts bytes of memory, where workers declare one.",
        ),
        "gpu_resource": Key(
            Text("letters, digits, `_ -`", pattern=r"[A-Za-z0-9_-]{1,64}"), "Dask resource that counts GPUs.", "GPU"
        ),
        "timeout": Key(Duration(1, 600), "How long one call may take.", 10, shown="10s"),
    },
    'A Dask cluster, with `type = "dask"`.',
)
