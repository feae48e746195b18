"""What is used of paramiko beyond its documented interface: it is in one module, and a paramiko without it is named."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import paramiko  # type: ignore[import-untyped]
import pytest
from nexapod_backends.slurm.ssh import paramiko_internals

from nexapod_batch.errors import ConfigError

SSH = Path(inspect.getfile(paramiko_internals)).parent
#: Private methods, and attributes that paramiko documents nowhere.
HIDDEN = re.compile(r"\b(?!self\b|cls\b)\w+\._(?!_)[a-z]\w*|\.(?:eof_received|status_event|sock)\b")


def test_the_installed_paramiko_is_one_that_we_know() -> None:
    """When this fails paramiko changed: mend `paramiko_internals`, or lower the bound in pyproject.toml."""
    paramiko_internals.check()


def _one_parameter(self: object) -> None:
    """Stand in for a method of another release."""


@pytest.mark.parametrize("name", ["_async_request", "_read_response", "_convert_status"])
def test_a_paramiko_that_lacks_something_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an AttributeError in the middle of a pass: one sentence with its version."""
    monkeypatch.delattr(paramiko.SFTPClient, name)
    with pytest.raises(ConfigError, match=re.escape(f"paramiko {paramiko.__version__} is not one")) as caught:
        paramiko_internals.check()
    assert f"no SFTPClient.{name}" in str(caught.value)


def test_a_method_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is called with would mean something else."""
    monkeypatch.setattr(paramiko.SFTPClient, "_read_response", _one_parameter)
    with pytest.raises(ConfigError, match=r"_read_response\(self\)"):
        paramiko_internals.check()


@pytest.mark.parametrize("attribute", ["eof_received", "status_event"])
def test_channels_have_what_is_read(attribute: str) -> None:
    """Attributes are made when an object is."""
    assert hasattr(paramiko.Channel(0), attribute)


def test_other_modules_use_nothing_hidden() -> None:
    """So that one file says all that may break."""
    for file in SSH.glob("*.py"):
        if file.name != "paramiko_internals.py":
            assert not HIDDEN.findall(file.read_text("utf-8")), file.name


def test_the_next_major_release_is_not_installed_unseen() -> None:
    """Each release that is admitted was tried; one that nobody tried is not."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [line for lines in lists for line in lines if line.startswith("paramiko")]
    assert wanted
    assert all(re.search(r",<\d+", one) for one in wanted)
