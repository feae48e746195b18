"""Homes whose site is a Dask cluster."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from real.slurm_homes import SlurmHome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clusters.dask import DaskCluster

__all__ = ["DaskHome", "client", "dask_text", "lying_python"]

_PARTITION = {"name": "all", "tier": "cpu", "hosts": 3, "max_cpus": 2, "max_mem": "2000M"}


def dask_text(name: str = "pool", **tables: Mapping[str, object]) -> str:
    """Return a site file: `dask` says where the cluster is, `partition` adds to its only partition."""
    whole: dict[str, Mapping[str, object]] = {"site": {"name": name}, "scheduler": {"type": "dask"}, "limits": {"poll_interval": "1s"}}
    partition = {**_PARTITION, **tables.pop("partition", {})}
    for table, more in tables.items():
        whole[table] = {**whole.get(table, {}), **more}
    lines = ["schema = 1"]
    for table, values in whole.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    lines += ["[[partitions]]", *(f"{key} = {json.dumps(value)}" for key, value in partition.items())]
    return "\n".join(lines) + "\n"


class DaskHome(SlurmHome):
    """A home with one site, `pool`; files travel through Dask, or lie in a folder that workers share with it."""

    imports = ("nexapod_backends.dask.backend", "nexapod_backends.dask.scheduler.client")

    def pool(self, address: str = "", *, shared: bool = False, name: str = "pool", **tables: Mapping[str, Any]) -> Path:
        """Write the site file; return its path."""
        where: dict[str, object] = {"address": address} if address else {}
        if shared:
            tables["filesystem"] = {"work_dir": f"{self.path}/shared"}
        else:
            where["local_dir"] = f"{self.path}/there"
        tables["dask"] = {**where, **tables.get("dask", {})}
        folder = self.path / "sites.d"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / f"{name}.toml"
        file.write_text(dask_text(name, **tables))
        return file

    def check(self, *options: str, code: int = 0) -> dict[str, dict[str, Any]]:
        """Check the site; return what was found, by probe."""
        found = self.json("site", "check", "pool", *options, code=code)["findings"]
        return {one["probe"]: one for one in found}

    def statements(self, job: int) -> list[dict[str, Any]]:
        """Return what every signed statement of a job says of how it ran, by task and replica."""
        folder = self.folder / f"statements-{job}"
        assert self.call("attestations", job, "--out", folder).code == 0
        found = []
        for file in sorted(folder.glob("*.dsse.json")):
            statement = json.loads(base64.b64decode(json.loads(file.read_bytes())["payload"]))
            found.append(statement["predicate"]["buildDefinition"]["internalParameters"])
        return found


def lying_python(folder: Path, host: str) -> Path:
    """Return an interpreter for runners that makes each of them sign that it is on another host than it is."""
    script = folder / "python"
    edit = f's/"host": "[^"]*"/"host": "{host}"/'
    script.write_text(
        f'#!/bin/sh\n[ "$4" = nexapod_batch.runner ] && sed -i {shlex.quote(edit)} "$5/node.json"\nexec {sys.executable} "$@"\n'
    )
    script.chmod(0o755)
    return script


def client(cluster: DaskCluster, expression: str) -> Any:
    """Return what an expression in `client`, an ordinary one, evaluates to, as JSON has it."""
    code = (
        "import json, sys\nfrom distributed import Client\n"
        "with Client(sys.argv[1]) as client: print(json.dumps(eval(sys.argv[2])))"
    )
    argv = [sys.executable, "-c", code, cluster.address, expression]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120).stdout)
