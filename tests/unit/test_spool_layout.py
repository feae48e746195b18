"""The spool's layout is known in one place, and whatever lies in a spool is read carefully."""

import json
import os
import re
import socket
from pathlib import Path

import pytest
from nexapod_backends.dask.scheduler import agent

from nexapod_batch.errors import ConfigError
from nexapod_batch.runner.worker.executor_deaths import Deaths
from nexapod_batch.spool import claims, gpu_health, launch_keys, layout, node_config, owner_settings, status_file

KEY = "0123456789abcdef" * 2
ROOT = Path(__file__).parents[2]
#: The agent's text travels to workers where nothing of ours can be imported.
TRAVELS = ROOT / "backends/nexapod_backends/dask/scheduler/agent.py"


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (layout.bundle(KEY), f"inbox/{KEY}.json"),
        (layout.key(KEY), f"inbox/{KEY}.key"),
        (layout.claim(KEY), f"claims/{KEY}"),
        (layout.spent(KEY), f"spent/{KEY}"),
        (layout.cancellation("42_0.1"), "cancel/42_0.1"),
        (layout.segment("ab-0"), "reports/ab-0.jsonl"),
        (layout.segment("ab-0.jsonl"), "reports/ab-0.jsonl"),
        (layout.refused_bundle(KEY), f"refused/{KEY}.json"),
        (layout.reason(KEY), f"refused/{KEY}.reason"),
        (layout.group("g1"), "groups/g1.json"),
        (layout.element_log("g1", 3), "logs/g1.3"),
        (layout.element_log("g1", "%a"), "logs/g1.%a"),
    ],
)
def test_paths_are_those_that_running_workers_know(path: str, wanted: str) -> None:
    """A path never changes: workers of another version, and spools of years ago, have it."""
    assert path == wanted
    assert path.partition("/")[0] in layout.CLUSTER_FOLDERS


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"{KEY}.json", KEY),
        (f".{KEY}.json", ""),
        (f".{KEY}.json.12.ab", ""),
        (f"{KEY}.key", ""),
        (KEY, ""),
        (".json", ""),
        ("", ""),
    ],
)
def test_a_bundle_is_told_from_what_lies_beside_it(name: str, wanted: str) -> None:
    """Temporary names, keys and strange names in the inbox are no launches."""
    assert layout.launch_of_bundle(name) == wanted


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("0a-1.jsonl", True),
        ("a" * 120 + ".jsonl", True),
        ("a" * 121 + ".jsonl", False),
        (".jsonl", False),
        ("a.json", False),
        ("a b.jsonl", False),
        ("a/b.jsonl", False),
        ("a\n.jsonl", False),
        ("a.jsonl\n", False),
        ("é.jsonl", False),
    ],
)
def test_a_segment_is_known_by_its_name(name: str, good: bool) -> None:
    """What a name cannot hold that the database, a shell or a terminal is given, no segment has."""
    assert layout.is_segment(name) is good


def test_what_travels_to_workers_says_the_same() -> None:
    """The agent of Dask cannot import the layout; it spells the same folders and suffixes."""
    text = TRAVELS.read_text()
    spelled = set(re.findall(r"\{(?:spool|path)\}/([a-z]+(?:\.[a-z]+)?)", text))
    files = {layout.NODE_CONFIG, layout.LOCK, layout.WORKER_LOG}
    assert agent._FOLDERS == layout.FOLDERS
    assert agent._BESIDE == layout.BESIDE_WORK
    assert spelled <= {*layout.FOLDERS, *files}


def test_nothing_else_spells_a_path_of_a_spool() -> None:
    """Folders and files of a spool are named in `spool/layout.py`, and nowhere else in the product."""
    folder = re.compile(rf'/ "(?:{"|".join(layout.FOLDERS)})"|/(?:{"|".join(layout.FOLDERS)})/\{{')
    file = re.compile(r'"(?:node|running|manners|gpus|deaths)\.json"|"worker\.lock"')
    places = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for top in ("nexapod_batch", "backends")
        for path in sorted((ROOT / top).rglob("*.py"))
        if path not in {TRAVELS, ROOT / "nexapod_batch/spool/layout.py"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (folder.search(line) or file.search(line)) and "self._folder" not in line
    ]
    assert places == []


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _deep(path: Path) -> None:
    path.write_text('{"schema":' + "[" * 100_000)


def _other(path: Path) -> None:
    path.write_text(json.dumps([1, "x", None]))


def _binary(path: Path) -> None:
    path.write_bytes(b"\xff\x00" * 50)


OBSTACLES = [_fifo, _link, _folder, _endless, _socket, _deep, _other, _binary]
#: What each reader makes of a file that is no file of ours.
READERS = {
    "claim": (lambda spool: claims.read(spool / layout.claim(KEY)), layout.claim(KEY), claims.UNREAD),
    "key": (lambda spool: launch_keys.read(spool / layout.key(KEY)), layout.key(KEY), b""),
    "status": (lambda spool: status_file.read(spool, "me"), layout.STATUS, None),
    "sole task": (status_file.take_sole_task, layout.STATUS, ""),
    "deaths": (lambda spool: Deaths(spool / layout.EXECUTOR_DEATHS).verdict("x"), layout.EXECUTOR_DEATHS, None),
    "GPU health": (gpu_health.read, layout.GPU_HEALTH, None),
    "node": (node_config.load, layout.NODE_CONFIG, ConfigError),
    "owner": (owner_settings.load, layout.OWNER_SETTINGS, ConfigError),
}


@pytest.mark.parametrize("put", OBSTACLES, ids=lambda put: put.__name__.strip("_"))
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_of_ours_is_read_carefully(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, put) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    """Whatever lies in the place of a file of the spool, its reader returns at once, and says so or passes it over."""
    read, name, wanted = READERS[reader]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    monkeypatch.chdir((tmp_path / name).parent)  # the path of a socket is short
    put(Path(Path(name).name))
    if wanted is ConfigError:
        with pytest.raises(ConfigError):
            read(tmp_path)
    else:
        assert read(tmp_path) == wanted
