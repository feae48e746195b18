"""Packages of plug-ins that cannot be loaded, or take what is taken: one clear fault, and all other sites go on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from homes import Home
from plugin_packages import NULL, SITE, install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAR = '[job]\nname = "far"\ncommand = ["true"]\n[quorum]\nagree = 1\ndistinct = "run"\n[schedule]\nsites = ["far"]\n'
NEAR = '[job]\nname = "near"\ncommand = ["true"]\n[quorum]\nagree = 1\ndistinct = "run"\n[schedule]\nsites = ["local"]\n'
ANY = NEAR.replace('"near"', '"any"').replace('[schedule]\nsites = ["local"]\n', "")
POINT = "odd = odd_backend:NullBackend"
WHOSE = "of odd-backend 1.0 (entry point odd = odd_backend:"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with a node of this machine, and one of a site whose backend is not installed yet."""
    made = Home(tmp_path)
    (made.path / "sites.d").mkdir(mode=0o700, parents=True)
    assert made.call("node", "init", "--name", "here").code == 0
    (made.path / "sites.d" / "far.toml").write_text(SITE)
    yield made
    made.end()


def put(home: Home, *packages: tuple[str, str, dict[str, str]]) -> None:
    """Install packages where the program finds them: name, code, entry points."""
    folders = [str(install(home.folder / f"package-{name}", name, code, points)) for name, code, points in packages]
    home.env["PYTHONPATH"] = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])


def lacking(*methods: str) -> str:
    """Return a backend without some methods."""
    return NULL + "".join(f"\nNullBackend.{method} = None" for method in methods)


BROKEN = {
    "lacks a method": (lacking("status"), POINT, "wanted also status"),
    "lacks several": (lacking("launch", "change_token", "probe"), POINT, "wanted also launch, change_token, probe"),
    "has the port's own": (
        "from nexapod_batch.plugins import Backend\nclass NullBackend(Backend):\n    pass\n", POINT, "wanted also launch, status, cancel, forget",
    ),
    "is no backend": ("NullBackend = dict\n", POINT, "got dict, which lacks methods"),
    "cannot be called": ("NullBackend = 7\n", POINT, "got TypeError: 'int' object is not callable"),
    "wants arguments": ("class NullBackend:\n    def __init__(self, url):\n        pass\n", POINT, "got TypeError"),
    "has no such name": (NULL, "odd = odd_backend:Nobody", "got AttributeError"),
    "has no such module": (NULL, "odd = nowhere:NullBackend", "got ModuleNotFoundError: No module named 'nowhere'"),
    "names no attribute": (NULL, "odd = odd_backend", "got "),
    "raises at import": ("raise RuntimeError('boom\\nsecond')\n", POINT, "got RuntimeError: boom second"),
    "ends at import": ("raise SystemExit(3)\n", POINT, "got SystemExit: 3"),
    "is cancelled at import": ("import asyncio\nraise asyncio.CancelledError\n", POINT, "got CancelledError"),
    "is not Python": ("class NullBackend(:\n", POINT, "got SyntaxError"),
    "lacks a library": ("import no_such_library\n", POINT, "got ModuleNotFoundError: No module named 'no_such_library'"),
    "raises when made": (NULL + "\ndef made():\n    raise KeyError('k')\nNullBackend = made\n", POINT, "got KeyError: 'k'"),
    "ends when made": (NULL + "\ndef made():\n    raise SystemExit('no')\nNullBackend = made\n", POINT, "got SystemExit: no"),
    "breaks when looked at": (
        NULL + "\nclass Odd:\n    def __getattribute__(self, name):\n        raise ValueError('w')\nNullBackend = Odd\n", POINT, "got ",
    ),
    "breaks in a property": (NULL + "\nNullBackend.signs_native = property(lambda self: 1 / 0)\n", POINT, "got ZeroDivisionError"),
}  # fmt: skip


def test_backends_that_cannot_be_loaded_are_one_fault_each(home: Home) -> None:
    """It names distribution and entry point; a job for its site is refused with it, all others run; a pass tells it once."""
    (home.path / "sites.d" / "far.toml").unlink()
    packages = []
    for number, (code, point, _) in enumerate(BROKEN.values()):
        lines = point.replace("odd", f"odd{number}")
        packages.append((f"odd{number}-backend", code, {"backends": lines}))
        text = SITE.replace('"odd"', f'"odd{number}"').replace('"far"', f'"far{number}"')
        (home.path / "sites.d" / f"far{number}.toml").write_text(text)
    put(home, *packages)
    near = home.call("submit", home.descriptor(NEAR, "near.toml"), "--wait")
    assert (near.code, "Traceback" in near.err) == (0, False), near.err
    again = home.call("reconcile", "--quiet")
    assert (again.code, again.err) == (0, "")  # told before
    for number, (how, (_, _, words)) in enumerate(BROKEN.items()):
        wanted = f"backend 'odd{number}' of odd{number}-backend 1.0 (entry point odd{number} = "
        line = next(line for line in near.err.splitlines() if wanted in line)
        assert words.replace("odd_backend", f"odd{number}_backend") in line, how
        assert "Traceback" not in line
        far = home.call("submit", home.descriptor(FAR.replace('["far"]', f'["far{number}"]'), "far.toml"))
        assert (far.code, wanted in far.err, "Traceback" in far.err) == (78, True, False), (how, far.err)


def test_a_backend_that_breaks_after_it_was_used_keeps_its_jobs(home: Home) -> None:
    """An update that cannot be loaded: what is out waits, each pass says why once, and `show` and `explain` go on."""
    put(home, ("odd-backend", NULL.replace("self._start(context)", "pass"), {"backends": POINT}))
    assert home.call("submit", home.descriptor(FAR, "far.toml")).code == 0
    (home.folder / "package-odd-backend" / "odd_backend.py").write_text("raise RuntimeError('boom')\n")
    done = home.call("submit", home.descriptor(NEAR, "near.toml"), "--wait")
    assert done.code == 0, done.err
    passed = home.call("reconcile")
    assert "backend 'odd' " + WHOSE in done.err + passed.err
    said = home.call("explain", "1")
    assert (said.code, "Traceback" in said.err) == (0, False), said.err
    assert {job["name"]: job["state"] for job in home.jobs()} == {"far": "active", "near": "accepted"}
    assert home.call("cancel", "1").code == 0


@pytest.mark.parametrize("name", ["odd", "slurm"])
def test_a_name_that_is_taken_says_by_whom(home: Home, name: str) -> None:
    """Sites of that backend are out of order, with both distributions named; this machine's nodes are not."""
    (home.path / "sites.d" / "far.toml").write_text(SITE.replace('"odd"', f'"{name}"'))
    packages = [("odd-backend", NULL, {"backends": f"{name} = odd_backend:NullBackend"})]
    if name == "odd":
        packages.append(("other-odd", NULL, {"backends": "odd = other_odd:NullBackend"}))
    put(home, *packages)
    far = home.call("submit", home.descriptor(FAR, "far.toml"))
    assert far.code == 78, far.err
    assert f"two plug-ins call themselves backend '{name}'" in far.err
    assert f"odd-backend 1.0 (entry point {name} = odd_backend:NullBackend)" in far.err
    assert ("other-odd 1.0" if name == "odd" else "nexapod-batch ") in far.err
    assert home.call("submit", home.descriptor(NEAR, "near.toml"), "--wait").code == 0


def test_two_installations_of_one_backend_are_one(home: Home) -> None:
    """The same entry point of two versions of a package, as an upgrade can leave them, is no clash."""
    put(home, ("odd-backend", NULL, {"backends": POINT}))
    install(home.folder / "package-odd-backend", "odd-backend", NULL, {"backends": POINT}, version="2.0")
    assert home.call("submit", home.descriptor(FAR, "far.toml"), "--wait").code == 0


def test_a_package_whose_list_is_bad_has_none(home: Home) -> None:
    """Some package that has nothing to do with us: everything else is found."""
    put(home, ("odd-backend", NULL, {"backends": POINT}))
    for number, text in enumerate(["[nexapod_batch.backends]\nodd\n", "odd = x\n", "[nexapod_batch.backends\nodd = a:b\n", "\x00"]):
        bad = home.folder / "package-odd-backend" / f"bad{number}-1.dist-info"
        bad.mkdir()
        (bad / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bad{number}\nVersion: 1\n")
        (bad / "entry_points.txt").write_text(text)
    done = home.call("submit", home.descriptor(FAR, "far.toml"), "--wait")
    assert (done.code, "Traceback" in done.err) == (0, False), done.err


TABLE = "odd = odd_backend:NullTable"
TABLES = {
    "raises at import": ("raise RuntimeError('boom')\n", TABLE, "RuntimeError: boom"),
    "is no table": ("NullTable = dict\n", TABLE, "lacks methods"),
    "has no keys": (NULL.replace("    table = Table(", "    other = Table("), TABLE, "failed in table"),
    "has keys of another kind": (NULL + "\nNullTable.table = {'nice': 1}\n", TABLE, "it is dict, not Table"),
    "raises in check": (NULL + "\ndef check(self, table, report):\n    raise SystemExit(1)\nNullTable.check = check\n", TABLE, "failed in check: got SystemExit"),
    "raises in read": (NULL + "\nNullTable.read = lambda self, table: {}[1]\n", TABLE, "failed in read: got KeyError"),
    "reads no plain data": (NULL + "\nNullTable.read = lambda self, table: object()\n", TABLE, "failed in read: got TypeError"),
    "needs a number": (NULL + "\nNullTable.needs = lambda self, settings: 7\n", TABLE, "failed in needs: got it returned int, not str"),
}  # fmt: skip


def test_tables_that_break_are_faults_of_their_sites_files(home: Home) -> None:
    """`site ls` lists the others, a job of this machine is accepted, and each fault names package and method."""
    (home.path / "sites.d" / "far.toml").unlink()
    packages = []
    for number, (code, point, _) in enumerate(TABLES.values()):
        lines = point.replace("odd", f"odd{number}")
        points = {"backends": lines.replace("NullTable", "NullBackend"), "site_tables": lines}
        packages.append((f"odd{number}-backend", code, points))
        text = SITE.replace('"odd"', f'"odd{number}"').replace('"far"', f'"far{number}"')
        (home.path / "sites.d" / f"far{number}.toml").write_text(f"{text}[odd{number}]\nnice = 3\n")
    put(home, *packages)
    (home.path / "sites.d" / "fine.toml").write_text(SITE.replace('"far"', '"fine"').replace('"odd"', '"local"'))
    listed = home.call("site", "ls")
    assert (listed.code, "fine" in listed.out, "Traceback" in listed.err) == (0, True, False), listed.err
    for number, (how, (_, _, words)) in enumerate(TABLES.items()):
        (line,) = {line for line in listed.err.splitlines() if f"of odd{number}-backend 1.0 (entry point odd{number} = " in line}
        assert words in line, (how, line)
    assert home.call("site", "check", "far0").code == 78
    assert home.call("submit", home.descriptor(NEAR, "near.toml"), "--wait").code == 0


def test_a_table_cannot_be_called_as_one_that_is_there(home: Home) -> None:
    """`[limits]` belongs to every site file."""
    put(home, ("odd-backend", NULL, {"backends": "limits = odd_backend:NullBackend", "site_tables": "limits = odd_backend:NullTable"}))
    (home.path / "sites.d" / "far.toml").write_text(SITE.replace('"odd"', '"limits"'))
    done = home.call("site", "check", "far")
    assert (done.code, "takes a name that is taken: got [limits]" in done.out) == (78, True), done.out + done.err
