"""What a runner knows of its node: `node.json` in the spool, parsed once and strictly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from nexapod_batch.errors import ConfigError
from nexapod_batch.files import own
from nexapod_batch.runtimes import RuntimeSettings
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fetching", "NodeConfig", "changed", "load"]

_MOST = 4 << 20  # bytes of settings
_HINT = "write it again with: nexapod-batch node init"


class Fetching(Struct, frozen=True, kw_only=True):
    """How the runners of a node fetch inputs by themselves."""

    folder: str  # where they are kept, by digest; a path that a bundle gives an input in it means: fetch it
    cache_mib: int = 20_480  # how much that may be
    max_mib: int = 1 << 20  # of one input
    proxy: str = ""  # URL; "" for what the environment says
    private_hosts: tuple[str, ...] = ()  # hosts whose addresses may be private ones
    gateways: tuple[str, ...] = ()  # of IPFS
    logins: bool = True  # those of the account that the runner has may be used, for jobs of its own people
    env: Mapping[str, str] = field(default_factory=dict)  # variables that the site sets
    sources: Mapping[str, str] = field(default_factory=dict)  # scheme -> where it is defined, looked up beforehand


class NodeConfig(Struct, frozen=True, kw_only=True):
    """The node that this runner works for."""

    spool: Path  # inbox/ claims/ cancel/ reports/ refused/
    name: str
    keys: frozenset[str]  # ids of the keys that the node has, or had while a launch of that time is open
    coordinators: Mapping[str, bytes]  # key id -> public key of whom bundles are accepted from
    host: str  # as the statements say it
    cpus: int
    mem_mib: int
    work: Path  # work folders of replicas
    backend: str  # as the statements say it
    classes: Mapping[str, str]  # numeric class -> value
    idle_exit_s: float = 10.0  # seconds without work until the worker exits
    path: str = ""  # PATH of commands; "" means the worker's own
    submit_path: bool = False  # without `path`: commands get the PATH that there was where their job was submitted
    runtimes: Mapping[str, str] = field(default_factory=dict)  # name -> where it is defined, looked up beforehand
    container: RuntimeSettings = field(default_factory=RuntimeSettings)
    native_id: str = ""  # what a scheduler that placed this runner calls its place; "" for a machine of its own
    nice: int = 0  # of commands, unless the owner wishes otherwise: 0 to 19
    io: str = "normal"  # of commands, likewise: `idle` or `normal`
    launcher: tuple[str, ...] = ()  # what starts the ranks of a replica of several; () runs the command itself
    gpus: tuple[str, ...] | None = None  # UUIDs of the GPUs that its owner offers; None is all there are
    gpu_slots: int = 1  # replicas that may share a GPU
    passes: tuple[str, ...] = ()  # variables that commands get as the runner got them
    env: Mapping[str, str] = field(default_factory=dict)  # those that no script sets for the runner, with their values
    tmp: str = ""  # where the folders of `$TMPDIR` are made; "" looks for a place
    code: str = ""  # which code the coordinator has and expects (`files.code_version`); "" where any will do
    possession: bool = False  # statements say that the outputs were in hand (`trust.possession`)
    trail_s: float = 30.0  # seconds that a command runs until its logs get a trail
    successor: tuple[str, ...] = ()  # the command line of a worker with that code; () where others start it
    fetching: Fetching | None = None  # None: all inputs are brought


def load(spool: Path) -> NodeConfig:
    """Read `node.json`; ConfigError when it is missing, broken or incomplete."""
    file = spool / layout.NODE_CONFIG
    try:
        document: Any = orjson.loads(own.read(file, _MOST))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read", got=str(error), hint=_HINT) from error
    try:
        if document["schema"] != 1:
            raise ConfigError(f"{file} is of another version", got=document["schema"], wanted="schema 1", hint=_HINT)
        config = _config(document, spool)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{file} is incomplete or of the wrong shape", got=problem, hint=_HINT) from error
    _check(config, file)
    return config


def changed(node: NodeConfig, **values: Any) -> NodeConfig:  # noqa: ANN401 - whatever its fields hold
    """Return the node with other values of some fields.

    `msgspec.structs.replace` under another name: in a runner that starts, classes and it are stand-ins until all of
    this module is loaded, and only those of one time know each other.
    """
    return replace(node, **values)


def _config(document: Any, spool: Path) -> NodeConfig:  # noqa: ANN401 - straight from JSON
    keys = {key_id: bytes.fromhex(document["coordinator_keys"][key_id]) for key_id in document["coordinators"]}
    return NodeConfig(
        spool=spool,
        name=_text(document, "name"),
        keys=frozenset(map(str, document["keys"])),
        coordinators=keys,
        host=_text(document, "host"),
        cpus=_count(document, "cpus"),
        mem_mib=_count(document, "mem_mib"),
        work=Path(_text(document, "work")),
        backend=_text(document, "backend"),
        classes={str(name): str(value) for name, value in document.get("classes", {}).items()},
        idle_exit_s=float(document.get("idle_exit_s", 10)),
        path=str(document.get("path", "")),
        submit_path=document.get("submit_path") is True,
        runtimes={str(name): str(where) for name, where in document.get("runtimes", {}).items()},
        container=_container(document, spool),
        native_id=str(document.get("native_id", "")),
        nice=int(document.get("nice", 0)),
        io=str(document.get("io", "normal")),
        launcher=tuple(map(str, document.get("launcher", ()))),
        gpus=_uuids(document),
        gpu_slots=_count({"gpu_slots": 1, **document}, "gpu_slots"),
        passes=tuple(map(str, document.get("pass", ()))),
        env={str(name): str(value) for name, value in document.get("env", {}).items()},
        tmp=str(document.get("tmp", "")),
        code=str(document.get("code", "")),
        possession=document.get("possession") is True,
        trail_s=float(document.get("trail_s", 30)),
        successor=tuple(map(str, document.get("successor", ()))),
        fetching=_fetching(document.get("fetching")),
    )


def _check(config: NodeConfig, file: Path) -> None:
    if not config.coordinators:
        raise ConfigError(f"{file} names no coordinator, so every bundle would be refused", wanted="one", hint=_HINT)
    if not config.work.is_absolute():
        raise ConfigError(f"{file}: work is no absolute path", got=str(config.work), hint=_HINT)


def _container(document: Mapping[str, Any], spool: Path) -> RuntimeSettings:
    said, confine = document.get("container", {}), document.get("confine", "foreign")
    if isinstance(confine, bool):  # as it was before there were foreign jobs
        confine = "all" if confine else "foreign"
    if confine not in {"foreign", "all", "never"}:
        raise ValueError("confine is neither foreign nor all nor never")
    return RuntimeSettings(
        program=str(said.get("program", "")),
        binds=tuple(map(str, said.get("binds", ()))),
        private=(str(spool), _text(document, "work"), *map(str, document.get("private", ()))),
        confine=confine,
    )


def _fetching(document: Mapping[str, Any] | None) -> Fetching | None:
    if not document:
        return None
    return Fetching(
        folder=_text(document, "folder"),
        cache_mib=_count(document, "cache_mib"),
        max_mib=_count(document, "max_mib"),
        proxy=str(document.get("proxy", "")),
        private_hosts=tuple(map(str, document.get("private_hosts", ()))),
        gateways=tuple(map(str, document.get("gateways", ()))),
        logins=document.get("logins") is not False,
        env={str(name): str(value) for name, value in document.get("env", {}).items()},
        sources={str(name): str(where) for name, where in document.get("sources", {}).items()},
    )


def _uuids(document: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "gpus" in document:
        return tuple(map(str, document["gpus"]))
    return None


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str) or not value:
        msg = f"{name} must be a text"
        raise TypeError(msg)
    return value


def _count(document: Mapping[str, Any], name: str) -> int:
    value = document[name]
    if type(value) is not int or value < 1:
        msg = f"{name} must be a whole number above 0"
        raise TypeError(msg)
    return value
