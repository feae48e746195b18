"""The table `[dask]` of a site file: one way to the scheduler, and that one whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from nexapod_backends.dask.site_table import Dask

from nexapod_batch.config.site.sites import parse_site
from nexapod_batch.errors import ConfigError

TLS = 'tls_ca = "/c/ca.pem"\ntls_cert = "/c/me.pem"\ntls_key = "/c/me.key"\n'


def text(dask: str, backend: str = "dask") -> str:
    return f'schema = 1\n[site]\nname = "pool"\n[scheduler]\ntype = "{backend}"\n{dask}[[partitions]]\nname = "all"\n'


@pytest.mark.parametrize(
    ("dask", "wanted"),
    [
        ('address = "tcp://10.0.0.1:8786"\n', Dask(address="tcp://10.0.0.1:8786")),
        ('address = "tcp://[fd00::1]:8786"\n', Dask(address="tcp://[fd00::1]:8786")),
        (
            f'address = "tls://d.example.org:8786"\n{TLS}',
            Dask(address="tls://d.example.org:8786", tls_ca="/c/ca.pem", tls_cert="/c/me.pem", tls_key="/c/me.key"),
        ),
        ('scheduler_file = "/shared/s.json"\n', Dask(scheduler_file="/shared/s.json")),
        ('cluster = "local"\nworkers = 4\nidle = "90s"\n', Dask(cluster="local", workers=4, idle_s=90)),
        ('cluster = "jobqueue"\non = "alpha"\nthreads = 2\n', Dask(cluster="jobqueue", on="alpha", threads=2)),
    ],
)
def test_ways_to_a_scheduler(dask: str, wanted: Dask) -> None:
    assert parse_site(text(f"[dask]\n{dask}"), Path("pool.toml")).site.backend_settings == wanted


@pytest.mark.parametrize(
    ("dask", "words"),
    [
        ("", "one way to the scheduler is needed"),
        ("[dask]\n", "got 'none'"),
        ('[dask]\naddress = "tcp://h:1"\ncluster = "local"\n', "got 'address and cluster'"),
        ('[dask]\naddress = "h:8786"\n', "dask.address"),
        ('[dask]\naddress = "http://h:8786"\n', "tcp://host:port"),
        ('[dask]\naddress = "tcp://h:8786/$(id)"\n', "dask.address"),
        ('[dask]\naddress = "tls://h:8786"\n', "missing, with tls://"),
        (f'[dask]\naddress = "tcp://h:8786"\n{TLS}', "tcp:// is not encrypted"),
        ('[dask]\naddress = "tls://h:8786"\ntls_ca = "/c/ca.pem"\n', "TLS needs all of"),
        ('[dask]\ncluster = "jobqueue"\n', 'goes with cluster = "jobqueue"'),
        ('[dask]\ncluster = "local"\non = "alpha"\n', 'goes with cluster = "jobqueue"'),
        ('[dask]\ncluster = "kubernetes"\n', "dask.cluster"),
        ('[dask]\naddress = "tcp://h:1"\nworker = 2\n', "workers"),
    ],
)
def test_what_cannot_be_meant_is_refused(dask: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_site(text(dask), Path("pool.toml"))
    assert words in str(caught.value)


def test_the_table_belongs_to_dask_sites() -> None:
    with pytest.raises(ConfigError, match="dask: means nothing here"):
        parse_site(text('[dask]\naddress = "tcp://h:1"\n', "local"), Path("pool.toml"))
