"""Where each file of a spool lies, and what its name ends in. Pure; the one place that knows.

Paths are text relative to the spool, since a spool may lie on this machine or on another one: `spool / bundle(key)`
here, `f"{remote_spool}/{bundle(key)}"` there.

| path | written by | what |
|---|---|---|
| `inbox/<launch>.json`, `.key` | backend | a signed bundle, and the key of its launch until that is claimed |
| `claims/<launch>` | runner, O_EXCL | who runs, or ran, the launch |
| `spent/<launch>` | backend | the claim of a launch that is over, until its bundle has expired |
| `cancel/<digest>.list`, `cancel/<name>` | backend | what is to stop (`cancellations`) |
| `reports/<incarnation>-<number>.jsonl` | executor | signed reports (`segment_writer`) |
| `refused/<launch>.json`, `.reason` | worker | a bundle that it refused, and why |
| `groups/<group>.json` | backend | on clusters: which launches each element of a group runs |
| `logs/<group>.<element>` | scheduler | and what its script said |
| `fetched/<sha256>` | runner | an input that it fetched, where the backend keeps these in the spool |
| `node.json` | backend | `node_config` |
| `manners.json` | the owner | `owner_settings` |
| `running.json` | worker | `status_file` |
| `gpus.json` | worker | `gpu_health` |
| `deaths.json` | runner | tasks during which executors were killed |
| `worker.lock` | worker, flock | `lock` |
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BESIDE_WORK",
    "CANCEL",
    "CLAIMS",
    "CLUSTER_FOLDERS",
    "EXECUTOR_DEATHS",
    "FETCHED",
    "FOLDERS",
    "GPU_HEALTH",
    "GROUPS",
    "INBOX",
    "LOCK",
    "LOGS",
    "LOG_SUFFIXES",
    "NODE_CONFIG",
    "OWNER_SETTINGS",
    "REFUSED",
    "REPORTS",
    "SPENT",
    "STATUS",
    "WORKER_LOG",
    "bundle",
    "cancellation",
    "claim",
    "element_log",
    "group",
    "is_launch_key",
    "is_list",
    "is_segment",
    "key",
    "launch_of_bundle",
    "launch_of_reason",
    "launches_in",
    "list_name",
    "of_ended_launch",
    "reason",
    "refused_bundle",
    "script",
    "segment",
    "spent",
]

INBOX, CLAIMS, SPENT, CANCEL, REPORTS, REFUSED = "inbox", "claims", "spent", "cancel", "reports", "refused"
#: The folders of every spool.
FOLDERS = (INBOX, CLAIMS, SPENT, CANCEL, REPORTS, REFUSED)
GROUPS, LOGS = "groups", "logs"
#: Where inputs lie by digest that runners fetched.
FETCHED = "fetched"
#: The folders of a spool whose runners are started by a scheduler, several at a time.
CLUSTER_FOLDERS = (*FOLDERS, GROUPS, LOGS)

LOCK = "worker.lock"
WORKER_LOG = "worker.log"
NODE_CONFIG = "node.json"
OWNER_SETTINGS = "manners.json"
STATUS = "running.json"
GPU_HEALTH = "gpus.json"
EXECUTOR_DEATHS = "deaths.json"

#: What the names of a replica's logs end in; they lie beside its work folder.
LOG_SUFFIXES = (".out", ".err")
#: What the names of everything end in that lies beside a work folder: logs, the list of outputs, what starts ranks.
BESIDE_WORK = (*LOG_SUFFIXES, ".manifest", ".start")

_BUNDLE, _KEY, _REASON, _LIST, _SEGMENT = ".json", ".key", ".reason", ".list", ".jsonl"
_MAX_SEGMENT_NAME = 120  # characters before the suffix
_KEY_LENGTH = 32
_OF_SEGMENTS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def bundle(launch: str) -> str:
    """Return where the bundle of a launch waits until each of its replicas was reported or given up."""
    return f"{INBOX}/{launch}{_BUNDLE}"


def key(launch: str) -> str:
    """Return where the key of a launch lies until that is claimed."""
    return f"{INBOX}/{launch}{_KEY}"


def claim(launch: str) -> str:
    """Return where the claim of a launch lies."""
    return f"{CLAIMS}/{launch}"


def spent(launch: str) -> str:
    """Return where the claim of a launch lies that is over."""
    return f"{SPENT}/{launch}"


def cancellation(name: str) -> str:
    """Return where a cancellation lies: a list by its `list_name`, or one replica or launch by its own name."""
    return f"{CANCEL}/{name}"


def list_name(digest: str) -> str:
    """Return the name of a list of cancellations with this digest of its content."""
    return f"{digest}{_LIST}"


def is_list(name: str) -> bool:
    """Say whether a name in `cancel/` is that of a list."""
    return name.endswith(_LIST)


def segment(name: str) -> str:
    """Return where a segment of this name lies; without its suffix: `<incarnation>-<number>`."""
    if name.endswith(_SEGMENT):
        return f"{REPORTS}/{name}"
    return f"{REPORTS}/{name}{_SEGMENT}"


def is_segment(name: str) -> bool:
    """Say whether a name in `reports/` can be that of a segment."""
    length = len(name) - len(_SEGMENT)
    return name.endswith(_SEGMENT) and 1 <= length <= _MAX_SEGMENT_NAME and _OF_SEGMENTS.issuperset(name)


def refused_bundle(launch: str) -> str:
    """Return where a bundle lies that the worker refused."""
    return f"{REFUSED}/{launch}{_BUNDLE}"


def reason(launch: str) -> str:
    """Return where it says why a bundle was refused."""
    return f"{REFUSED}/{launch}{_REASON}"


def of_ended_launch(launch: str) -> tuple[str, ...]:
    """Return where everything lies that nobody needs when a launch is over, its claim apart."""
    return bundle(launch), key(launch), cancellation(launch), refused_bundle(launch), reason(launch)


def group(name: str) -> str:
    """Return where it says which launches each element of a group runs."""
    return f"{GROUPS}/{name}{_BUNDLE}"


def element_log(name: str, element: int | str) -> str:
    """Return where the log of a group's element lies; `element` may be what a scheduler replaces by its number."""
    return f"{LOGS}/{name}.{element}"


def script(launch: str) -> str:
    """Return the name of the script of a launch, which lies beside the work folders."""
    return f"{launch}.script"


def launch_of_bundle(name: str) -> str:
    """Return the launch whose bundle has this name in `inbox/`; "" for any other file."""
    return _stem(name, _BUNDLE)


def launches_in(names: Iterable[str]) -> set[str]:
    """Return the launches whose bundles are among these names of `inbox/`."""
    return {launch for name in names if (launch := launch_of_bundle(name))}


def launch_of_reason(name: str) -> str:
    """Return the launch whose reason has this name in `refused/`; "" for any other file."""
    return _stem(name, _REASON)


def is_launch_key(text: str) -> bool:
    """Say whether `text` can be a launch key: 32 lower-case hex digits."""
    return len(text) == _KEY_LENGTH and not text.strip("0123456789abcdef")


def _stem(name: str, suffix: str) -> str:
    if name.startswith(".") or not name.endswith(suffix):  # written by another name first
        return ""
    return name.removesuffix(suffix)
