"""The batch script: checked directives and quoted values, rendered through a sandboxed template.

Of a job descriptor nothing reaches the script but numbers and words that `directives` admits; only the admin's setup
lines and template are raw shell. The last line makes the batch shell the runner, so that the USR2 of `--signal=B:`
reaches it.
"""

from __future__ import annotations

import os
import re
import shlex
import traceback
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_backends.slurm.jobs.directives import directives
from nexapod_batch import __version__
from nexapod_batch.errors import ConfigError, Problem
from nexapod_batch.files import own
from nexapod_batch.plugins.modules import module_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_backends.slurm.jobs.directives import Directive, SbatchRequest
    from nexapod_batch.model.site import Site

__all__ = ["TemplateFaultError", "as_it_is", "narrowed", "read_template", "render"]

#: The largest script and template, in bytes.
SCRIPT_MAX = 1 << 20
TEMPLATE_MAX = 1 << 16
_TEMPLATE = "slurm.sh.jinja"


class TemplateFaultError(ConfigError):
    """A script template cannot be used: a fault of the site, whatever a job asks for."""


_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,127}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_DIRECTIVE = ("#SBATCH", "#SLURM", "#PBS", "#BSUB")


def render(site: Site, request: SbatchRequest, template: str) -> str:
    """Return the script; ConfigError names what is wrong with a value, or the template and its line."""
    options = directives(site, request)
    name = site.scheduler.template or _TEMPLATE
    if not request.runner or not request.runner[0].startswith("/"):
        got = repr(request.runner[:1])
        raise ConfigError("runner cannot be started", got=got, wanted="the absolute path of a program")
    runner = shlex.join(_printable("runner", word) for word in request.runner)
    modules = list(site.environment.modules)
    site_name = _matched(_SITE, "name of the site", site.name)
    if request.container and site.container.module:
        modules.append(site.container.module)
    modules = [_matched(_MODULE, "module", name) for name in modules]
    script = _fill(
        template,
        name,
        {
            "program": f"nexapod-batch {__version__}",
            "site": site_name,
            "group": request.group,
            "directives": [str(one) for one in options],
            "modules": modules,  # for a site's own template
            "module_lines": module_lines(site_name, modules),
            "environment": list(_environment({**site.environment.env, **request.env})),
            "setup": list(_setup(site.environment.setup)),
            "runner": runner,
        },
    )
    _check(script, name, options, f"exec {runner}")
    return script


def narrowed(script: str, group: str, elements: int, part: str, left: int) -> str:
    """Return the script of a part of a group: it differs in the group's name, and in how many elements there are."""
    whole, of_part = f"#SBATCH --array=0-{elements - 1}\n", f"#SBATCH --array=0-{left - 1}\n"
    return script.replace(whole, of_part, 1).replace(group, part)


def as_it_is(path: str) -> str:
    """Return a path of which Slurm fills in nothing, for the front of a log's name."""
    return path.replace("%", "%%")


def read_template(path: str = "") -> str:
    """Return the text of a site's own template, or of the one that comes with nexapod-batch; ConfigError.

    Raises:
        TemplateFaultError: It cannot be read, or is too large.

    """
    if not path:
        from importlib.resources import files  # noqa: PLC0415 - only where a script is rendered

        return files("nexapod_batch.templates").joinpath(_TEMPLATE).read_text("utf-8")
    try:
        with os.fdopen(own.open_file(Path(path)), "rb") as file:
            body = file.read(TEMPLATE_MAX + 1)
        text = body.decode("utf-8")
    except (OSError, ValueError) as error:
        raise TemplateFaultError(f"template {path} cannot be read", got=str(error)) from error
    if len(body) > TEMPLATE_MAX:
        raise TemplateFaultError(f"template {path} is too large", wanted=f"at most {TEMPLATE_MAX} bytes")
    return text


def _matched(pattern: re.Pattern[str], what: str, value: str) -> str:
    if not pattern.fullmatch(value):
        raise ConfigError(
            f"{what} cannot be written into a script",
            got=repr(value[:100]),
            wanted=f"text that matches {pattern.pattern}",
        )
    return value


def _printable(what: str, value: str) -> str:
    if not value.isprintable():
        raise ConfigError(
            f"{what} cannot be written into a script",
            got=repr(value[:100]),
            wanted="one line without control characters",
        )
    return value


def _environment(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield names and shell-quoted values."""
    for name, value in env.items():
        yield (
            _matched(_VARIABLE, "name of an environment variable", name),
            shlex.quote(_printable(f"environment variable {name}", value)),
        )


def _setup(lines: Sequence[str]) -> Iterator[str]:
    """Yield the admin's shell lines as they are; none may pass for a directive."""
    for line in lines:
        for part in line.split("\n"):
            _printable("setup line", part.replace("\t", " "))
            if part.lstrip().startswith(_DIRECTIVE):
                raise ConfigError("setup line is a directive", got=repr(part[:100]), hint="use extra_directives")
            yield part


def _fill(template: str, name: str, values: Mapping[str, object]) -> str:
    """Render the template; whatever goes wrong in it is a ConfigError with its line."""
    from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError  # noqa: PLC0415 - 25 ms, only where needed
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    if len(template.encode("utf-8", "replace")) > TEMPLATE_MAX:
        raise TemplateFaultError(f"template {name} is too large", wanted=f"at most {TEMPLATE_MAX} bytes")
    environment = ImmutableSandboxedEnvironment(
        autoescape=False,  # a shell script; every value is quoted or on an allow-list
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.from_string(template).render(values)
    except TemplateSyntaxError as error:
        raise _broken(name, error.message or "syntax error", error.lineno) from error
    except (TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == "<template>"]
        raise _broken(name, f"{type(error).__name__}: {error}", frames[-1].lineno if frames else None) from error


def _broken(name: str, message: str, line: int | None) -> TemplateFaultError:
    return TemplateFaultError(f"template {name} cannot be used", problems=(Problem("", message[:500], line),))


def _check(script: str, name: str, options: Sequence[Directive], last: str) -> None:
    """Refuse a script that a site's template broke."""
    problems = tuple(_faults(script, options, last))
    if problems:
        raise TemplateFaultError(f"template {name} cannot be used", problems=problems)


def _faults(script: str, options: Sequence[Directive], last: str) -> Iterator[Problem]:
    """Yield what keeps a script from being what Slurm and the runner need."""
    head = list(takewhile(lambda line: not line.strip() or line.lstrip().startswith("#"), script.split("\n")))
    missing = [str(one) for one in options if f"#SBATCH {one}" not in head]  # after a command Slurm reads none
    if not script.startswith("#!"):
        yield Problem("", "the script does not begin with #!", 1)
    if missing:
        yield Problem("", f"the script lacks the directives {' '.join(missing)[:500]}")
    if script.rstrip("\n").rpartition("\n")[2] != last:
        yield Problem("", "the last line of the script is not `exec {{ runner }}`")
    if "\0" in script or "\r" in script or len(script) > SCRIPT_MAX:
        yield Problem("", f"the script holds NUL or CR, or is longer than {SCRIPT_MAX} characters")
