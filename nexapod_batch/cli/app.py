"""The root of the command line, and the one place where errors become exit codes.

Commands are imported when they are run. `--help`, `--version` and the completion scripts are answered from the static
table in `command_table.py`, so that they import click and nothing else.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from nexapod_batch import __version__
from nexapod_batch.cli import NO_MEMORY, command_table
from nexapod_batch.errors import NexapodError
from nexapod_batch.files import umask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

__all__ = ["LazyGroup", "app", "main"]

#: sysexits.h: a fault of this program itself; the database refuses illegal rows, so nothing is half done.
EX_SOFTWARE = 70
#: sysexits.h: a package that is not installed.
EX_CONFIG = 78
#: 128 + SIGINT, as shells report it.
INTERRUPTED = 130
#: What helps against faults of the system that are no fault of what was asked for.
_ROOM = "\n  -> make room, then run the same command again"
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "\n  -> raise the limit (ulimit -f unlimited), then run the same command again",
    errno.EMFILE: "\n  -> raise the limit (ulimit -n 256), then run the same command again",
    errno.ENFILE: "\n  -> end other programs, then run the same command again",
    errno.EAGAIN: "\n  -> end other programs, or raise the limit (ulimit -u), then run the same command again",
}
#: Under which name a context keeps that `--url` was given.
_URL = "nexapod_batch.url"


class LazyGroup(click.Group):
    """A group that imports a command only to run it, and lists the others from the static table."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(command_table.COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command and return the command; one about a server elsewhere where that is meant."""
        entry = command_table.COMMANDS.get(cmd_name)
        if entry is None:
            return None
        from importlib import import_module

        from nexapod_batch.cli import global_options

        module = entry.module
        if cmd_name in command_table.REMOTE and (ctx.meta.get(_URL) or os.environ.get("NEXAPOD_URL")):
            module = f"remote.{command_table.REMOTE[cmd_name]}"
        command: click.Command = getattr(import_module(f"nexapod_batch.cli.{module}"), entry.attribute)
        global_options.add_global_options(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a misspelt one gets the nearest name."""
        given = args[: args.index("--")] if "--" in args else args
        if any(arg == "--url" or arg.startswith("--url=") for arg in given):
            ctx.meta[_URL] = True
        if args and args[0] not in command_table.COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{_nearest(args[0])}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer commands and options from the table, without importing any command."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=entry.summary)
            for name, entry in command_table.COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table, section by section."""
        for section, names in command_table.SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, command_table.COMMANDS[name].summary) for name in names])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="nexapod-batch", message="%(prog)s %(version)s")
@click.option("-v", "verbose", count=True, help="Log what is done, on stderr; -vv in more detail.")
@click.option("-q", "quiet", is_flag=True, help="Say nothing on stderr but errors.")
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), help="Colour what is printed. Default: on a terminal."
)
@click.pass_context
def app(ctx: click.Context, verbose: int, quiet: bool, color: str | None) -> None:
    """Run batch jobs independently at least twice, compare, sign, and accept what agrees.

    \b
      nexapod-batch init                        write a descriptor to start from
      nexapod-batch submit job.toml --wait      run a job and wait for its verdict
      nexapod-batch explain last                say why a job is where it is

    Jobs are named 42, their tasks 42_7 or 42_1-5; 40-45, 40,42, last and all are understood too, and --state, --name,
    --label, --since choose among them. Commands that show ID in their help take one.
    Every command takes -v, -q and --color, and nearly every one --json.
    Exit codes: 0 accepted, 1 failed or cancelled, 2 usage, 3 no quorum, 4 wait timed out, 65 bad descriptor,
    66 no such job, 69 scheduler unreachable, 75 try again, 78 bad configuration, 130 interrupted.
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
    if quiet or color is not None:
        _talk(quiet=quiet, color=color)
    if verbose or os.environ.get("NEXAPOD_LOG"):
        _log(verbose, ctx.invoked_subcommand or "")


def _talk(*, quiet: bool, color: str | None) -> None:
    from nexapod_batch.cli.rendering import render

    if quiet:
        render.be_quiet()
    if color is not None:
        render.set_color(color)


def _log(verbose: int, command: str) -> None:
    from nexapod_batch.cli import log_output

    named = os.environ.get("NEXAPOD_LOG")
    if named:
        log_output.from_environment(named, command)
    if verbose:
        log_output.to_stderr("debug" if verbose > 1 else "info", command)


def _nearest(word: str) -> str:
    """Say which command was meant: the one that other systems call so, or the one with the nearest name."""
    meant = command_table.ELSEWHERE.get(word.lower())
    if meant is None:
        from difflib import get_close_matches

        near = get_close_matches(word, command_table.COMMANDS, 1)
        meant = near[0] if near else None
    if meant:
        return f" Did you mean {meant!r}?"
    return " nexapod-batch --help lists them."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every fault becomes a message on stderr, none a traceback."""
    _prepare_streams()
    if "nexapod_batch.cli.rendering.render" in sys.modules:
        sys.modules["nexapod_batch.cli.rendering.render"].be_as_usual()
    code, failed = _run(arguments)
    if failed is not None:
        _print_as_json(failed, code, list(sys.argv[1:] if arguments is None else arguments))
    if "nexapod_batch.cli.log_output" in sys.modules:
        from nexapod_batch.cli import log_output

        log_output.end(code)
    return code


def _prepare_streams() -> None:
    """Make stdout and stderr take every text, and be there also where the caller closed them.

    A file that is opened later must not get the number of a closed one: what is printed would end in it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end of the process
        elif hasattr(stream, "reconfigure"):  # a name that the terminal's encoding lacks is shown, not fatal
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__ and type(sys.stderr) is io.TextIOWrapper:
        encoding = sys.stderr.encoding
        aside = _Aside(sys.stderr.detach(), encoding, "backslashreplace", line_buffering=True)
        sys.stderr = sys.__stderr__ = aside  # type: ignore[misc] # what was detached can be used no more


class _Aside(io.TextIOWrapper):
    """The stderr of a command: what is said aside and cannot be written ends nothing, and changes no exit code."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _run(arguments: Sequence[str] | None) -> tuple[int, BaseException | None]:
    """Run one command; return its exit code, and the error that it ended with."""
    try:
        with umask.private():
            result = app.main(args=arguments, prog_name="nexapod-batch", standalone_mode=False)
        return (result if isinstance(result, int) else 0), None
    except click.ClickException as error:
        return _misused(error), error
    except click.Abort:
        return INTERRUPTED, None
    except Exception as error:  # a person at a terminal is not helped by a traceback
        if os.environ.get("NEXAPOD_DEBUG") and not isinstance(error, (NexapodError, OSError)):
            raise
        return _failed(error)


def _failed(error: Exception) -> tuple[int, BaseException | None]:
    """Say why a command failed; return its exit code, and the error where there is more to be said of it."""
    if _is_out_of_memory(error):
        os.write(2, NO_MEMORY)  # nothing more can be imported to say it
        return 75, None
    if isinstance(error, NexapodError):
        return _fail(str(error), error.exit_code), error
    if isinstance(error, OSError):
        return _os_fault(error), error
    if isinstance(error, ModuleNotFoundError) and (said := _missing_package(error)):
        return _fail(said, EX_CONFIG), error
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = f"a fault of nexapod-batch itself: {what}\n  -> NEXAPOD_DEBUG=1 shows where"
    return _fail(text, EX_SOFTWARE), error


def _is_out_of_memory(error: BaseException) -> bool:
    """Say whether there is no more memory, also for a library that could not be loaded for that, or for a plug-in."""
    if isinstance(error, NexapodError):
        return error.__cause__ is not None and _is_out_of_memory(error.__cause__)
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, ModuleNotFoundError):
        return False
    if isinstance(error, ImportError) and ("failed to map segment" in str(error) or "allocate memory" in str(error)):
        return True
    if isinstance(error, (ImportError, SystemError)):  # C code that found no memory, and did not say so
        return _is_memory_limited()
    return isinstance(error, MemoryError)


def _is_memory_limited() -> bool:
    """Say whether this process may have only so much memory; without an import, for which there may be none."""
    with suppress(OSError), open("/proc/self/limits", encoding="ascii") as limits:
        return any(line.startswith(("Max data", "Max address")) and line.split()[3] != "unlimited" for line in limits)
    return False


def _missing_package(error: ModuleNotFoundError) -> str:
    """Say which package of others is not installed, and how to install it; nothing for a module of ours."""
    module = (error.name or "").partition(".")[0]
    if not module or module.startswith("nexapod_"):
        return ""
    from nexapod_batch.requirements import install_command

    return f"a Python package that it needs is not installed: got no {module}\n  -> {install_command([module])}"


def _print_as_json(error: BaseException, code: int, arguments: list[str]) -> None:
    """Print an error as data where that was asked for; where stdout is what failed, nothing more can be done."""
    from nexapod_batch.cli import error_output

    if error_output.wants_json(arguments) and not (isinstance(error, OSError) and error.errno == errno.EPIPE):
        try:
            error_output.print_error(error, code)
        except OSError:
            return


def _misused(error: click.ClickException) -> int:
    """Print a usage error; what was typed may have come from a file name."""
    import io

    from nexapod_batch.cli.rendering.terminal import clean

    said = io.StringIO()
    error.show(said)
    click.echo("\n".join(map(clean, said.getvalue().split("\n"))), err=True, nl=False)
    return error.exit_code


def _os_fault(error: OSError) -> int:
    if error.errno == errno.EPIPE:  # its reader went away: quietly
        _discard_output()
        return 1
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
    if error.errno == errno.ENOENT and not error.filename and _folder_is_gone():
        return _fail("the current folder is gone\n  -> cd to one that is there", 1)
    place = f": {error.filename}" if error.filename else ""
    hint = _HINTS.get(error.errno or 0, "")
    return _fail(f"{error.strerror or error}{place}{hint}", 75 if hint else 1)


def _folder_is_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _fail(message: str, code: int) -> int:
    from nexapod_batch.cli.rendering.terminal import clean  # nodes and files may have chosen some of the words

    click.echo("\n".join(map(clean, f"nexapod-batch: {message}".split("\n"))), err=True)
    return code


def _discard_output() -> None:
    """Lead stdout nowhere: what nobody takes must not be tried again, with another exit code, at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
