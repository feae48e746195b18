"""`completion`: scripts for bash, zsh and fish that know every command and option, and never start Python."""

from __future__ import annotations

import click

from nexapod_batch.cli.command_table import COMMANDS

__all__ = ["bash", "completion", "fish", "zsh"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    click.echo({"bash": bash, "zsh": zsh, "fish": fish}[shell](), nl=False)


def bash() -> str:
    """Return the script for bash: `source <(nexapod-batch completion bash)`."""
    cases = "\n".join(f'    {name}) words="{" ".join(entry.words)} --help" ;;' for name, entry in COMMANDS.items())
    return f"""\
# bash completion of nexapod-batch; in ~/.bashrc: source <(nexapod-batch completion bash)
_nexapod_batch() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} words=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=( $(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$current") )
    return
  fi
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
  COMPREPLY=( $(compgen -W "$words" -- "$current") )
}}
complete -o default -F _nexapod_batch nexapod-batch
"""


def zsh() -> str:
    """Return the script for zsh: `source <(nexapod-batch completion zsh)`."""
    names = "\n".join(f"    {_quote(name + ':' + entry.summary)}" for name, entry in COMMANDS.items())
    cases = "\n".join(f"    {name}) compadd -- {' '.join(entry.words)} --help ;;" for name, entry in COMMANDS.items())
    return f"""\
#compdef nexapod-batch
# zsh completion of nexapod-batch; in ~/.zshrc after compinit: source <(nexapod-batch completion zsh)
_nexapod_batch() {{
  local -a commands
  commands=(
{names}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    compadd -- --help --version
    return
  fi
  case ${{words[2]}} in
{cases}
  esac
  _files
}}
compdef _nexapod_batch nexapod-batch
"""


def fish() -> str:
    """Return the script for fish: `nexapod-batch completion fish | source`."""
    lines = ["# fish completion of nexapod-batch; in config.fish: nexapod-batch completion fish | source"]
    start = "complete -c nexapod-batch"
    for name, entry in COMMANDS.items():
        lines.append(f"{start} -n __fish_use_subcommand -a {name} -d {_quote(entry.summary)}")
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        words = (f"-l {word[2:]}" if word.startswith("--") else f"-a {word}" for word in (*entry.words, "--help"))
        lines += [f"{start} {seen} {word}" for word in words]
    return "\n".join(lines) + "\n"


def _quote(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
