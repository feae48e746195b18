"""The table `[dask]` of a site file: where its scheduler is, or how one is started.

Read whenever a site of Dask is: nothing of Dask is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.model.words import SITE_NAME
from nexapod_batch.plugins.site_table import SiteTable, given
from nexapod_batch.schema.kinds import Choice, Key, Table, Text, Whole
from nexapod_batch.schema.paths import PATH, USER_PATH
from nexapod_batch.schema.quantities import Duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.model.site import Site
    from nexapod_batch.schema.problems import Report, Value

__all__ = ["Dask", "DaskTable", "worker_time_s"]

#: Seconds: a worker in a Slurm job lives at least so long, and so much of that is for itself.
_SHORTEST_WORKER_S, _AROUND_S = 600, 90


class Dask(Struct, frozen=True, kw_only=True):
    """Where a Dask scheduler is, or how one is started."""

    address: str = ""  # tcp://host:port or tls://host:port; one of these three
    scheduler_file: str = ""  # in which a scheduler wrote its address
    cluster: str = ""  # local | jobqueue: started when it is needed
    on: str = ""  # jobqueue: the Slurm site whose partitions the workers run in
    workers: int = 2  # to start: processes, or Slurm jobs at most
    threads: int = 1  # of each worker to start
    idle_s: int = 300  # without work, after which what was started ends
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    local_dir: str = ""  # on the workers, where nothing is shared; `{user}` is filled in
    mem_resource: str = ""  # name of a Dask resource that counts bytes
    gpu_resource: str = "GPU"  # name of the one that counts GPUs
    timeout_s: int = 10  # for one call


_TABLE = Table(
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


class DaskTable(SiteTable):
    """What Dask adds to site files."""

    table = _TABLE

    def check(self, table: Mapping[str, Value] | None, report: Report) -> None:
        """Report where there is not one way to the scheduler, or where it is not whole."""
        ways = ("address", "scheduler_file", "cluster")
        found = [name for name in ways if table is not None and table[name] is not None]
        if table is None or len(found) != 1:
            wanted = 'one of address = "tcp://host:8786", scheduler_file and cluster = "local"'
            report.add("dask", "one way to the scheduler is needed", got=" and ".join(found) or "none", wanted=wanted)
            return
        if (table["cluster"] == "jobqueue") != (table["on"] is not None):
            wanted = "the name of a Slurm site, for jobqueue only"
            report.add("dask.on", 'goes with cluster = "jobqueue"', wanted=wanted)
        _check_tls(table, report)

    def read(self, table: Mapping[str, Value]) -> Dask:
        """Return the noun."""
        return Dask(**given(table, idle="idle_s", timeout="timeout_s"))

    def needs(self, settings: object) -> str:
        """Return the Slurm site whose jobs its workers are."""
        if isinstance(settings, Dask):
            return settings.on
        return ""

    def beside(self, site: Site, needed: Site) -> Site:
        """Return a site whose workers are Slurm jobs of another: no replica may take longer than they live."""
        if not needed.partitions:
            return site
        bound = []
        for partition in site.partitions:
            longest = max(1, worker_time_s(needed, partition.name) - _AROUND_S)
            time_s = longest if partition.max_time_s is None else min(partition.max_time_s, longest)
            bound.append(replace(partition, max_time_s=time_s))
        return replace(site, partitions=tuple(bound))


def _check_tls(table: Mapping[str, Value], report: Report) -> None:
    tls = [name for name in ("tls_ca", "tls_cert", "tls_key") if table[name] is not None]
    address = table["address"] if isinstance(table["address"], str) else ""
    if len(tls) not in (0, 3):
        report.add("dask.tls_ca", "TLS needs all of tls_ca, tls_cert and tls_key", got=", ".join(tls))
    elif address.startswith("tls:") and not tls:
        report.add("dask.tls_ca", "missing, with tls://", wanted="tls_ca, tls_cert and tls_key")
    elif address.startswith("tcp:") and tls:
        wanted = "tls://, or no tls_ca, tls_cert, tls_key"
        report.add("dask.address", "tcp:// is not encrypted", got=address, wanted=wanted)


def worker_time_s(on: Site, name: str) -> int:
    """Return the wall time of a Slurm job of `on` that is a Dask worker, in its partition of this name or first one."""
    partition = next((partition for partition in on.partitions if partition.name == name), on.partitions[0])
    pack_s = on.limits.pack.time_s
    return min(partition.max_time_s or pack_s, max(pack_s, _SHORTEST_WORKER_S))
