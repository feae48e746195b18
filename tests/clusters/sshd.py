"""A real sshd on the loopback with keys of its own, for one user: whoever runs the tests.

Everything lies in one folder: `config`, `host_key`, `user_key`, `authorized_keys` and, for the client, `known_hosts`.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

from clusters.daemons import ClusterError, Daemon, accepts, free_ports, kill_all, program

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Sshd"]


_SFTP = "internal-sftp"


class Sshd:
    """One sshd and what its client needs. A context manager."""

    def __init__(self, folder: Path, port: int, *, outlive: bool = False, user: str = "", sftp: str = _SFTP) -> None:
        """Describe the sshd of a folder; nothing starts."""
        self.folder, self.host, self.port, self.user = folder, "127.0.0.1", port, pwd.getpwuid(os.geteuid()).pw_name
        self.key, self.known_hosts = folder / "user_key", folder / "known_hosts"
        self.user, self._sftp = user or self.user, sftp
        self._host_key, self._config, self._outlive = folder / "host_key", folder / "config", outlive
        self._left: list[psutil.Process] = []
        self._daemon = Daemon(folder, "sshd", [program("sshd"), "-D", "-e", "-f", str(self._config)])

    @classmethod
    def create(
        cls, folder: Path, *, set_env: Mapping[str, str] | None = None, outlive: bool = False, user: str = "", sftp: str = _SFTP
    ) -> Self:
        """Make the keys and start; `set_env` is in the environment of every session, `sftp` is its subsystem or ""."""
        folder.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        self = cls(folder, port, outlive=outlive, user=user, sftp=sftp)
        self._keygen(self.key)
        self._keygen(self._host_key)
        (folder / "authorized_keys").write_bytes(self.key.with_suffix(".pub").read_bytes())
        self.trust_host_key()
        self._config.write_text(self._settings(set_env or {}))
        self.start()
        return self

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """Return the sshd that another program started in `folder`."""
        words = (line.split() for line in (folder / "config").read_text().splitlines())
        return cls(folder, next(int(line[1]) for line in words if line[0] == "Port"), outlive=True)

    @property
    def pid(self) -> int:
        """The process that listens."""
        process = self._daemon.process()
        if process is None:
            raise ClusterError("sshd does not run")
        return process.pid

    def start(self) -> None:
        """Start it, at the same port with the key that lies there."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where its unprivileged part is locked in
        self._daemon.start(lambda: accepts((self.host, self.port)), outlive=self._outlive)

    def stop(self) -> None:
        """Stop listening, and cut every connection."""
        self.kill_sessions()
        self._daemon.stop()

    def kill_sessions(self) -> int:
        """Cut every live connection, as a lost network does; commands that run there are not told. Return how many processes."""
        listener = self._daemon.process()
        if listener is None:
            return 0
        with suppress(psutil.NoSuchProcess):
            family = listener.children(recursive=True)
            self._left += [process for process in family if not _is_sshd(process)]
            serving = [process for process in family if _is_sshd(process)]
            kill_all(serving, family=False)
            return len(serving)
        return 0

    def rotate_host_key(self) -> None:
        """Come back with another host key; `known_hosts` still names the old one."""
        self.stop()
        for path in (self._host_key, self._host_key.with_suffix(".pub")):
            path.unlink()
        self._keygen(self._host_key)
        self.start()

    def trust_host_key(self) -> None:
        """Write the present host key to `known_hosts`, and nothing else."""
        kind, key = self._host_key.with_suffix(".pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {kind} {key}\n")

    def ssh(self, *argv: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command there with OpenSSH's own client; each word reaches it unchanged."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return subprocess.run(
            [program("ssh"), "-F", "none", *words, "-i", str(self.key), "-p", str(self.port), f"{self.user}@{self.host}"]
            + [shlex.join(map(str, argv))],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def close(self) -> None:
        """Stop it, and what its sessions left. Closing twice is fine."""
        self.stop()
        kill_all(process for process in self._left if process.is_running())
        self._left = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keygen(self, path: Path) -> None:
        argv = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"ssh-keygen ended with {done.returncode}: {done.stderr}")

    def _settings(self, set_env: Mapping[str, str]) -> str:
        lines = [
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f'HostKey "{self._host_key}"',
            f'AuthorizedKeysFile "{self.folder / "authorized_keys"}"',
            "PidFile none",
            "PubkeyAuthentication yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "UsePAM no",
            "StrictModes no",  # the folder may lie below one that all may write, /tmp
            f"AllowUsers {self.user}",
            "PrintMotd no",
        ]
        if self._sftp:
            lines.append(f"Subsystem sftp {self._sftp}")
        if set_env:
            lines.append("SetEnv " + " ".join(f'"{name}={value}"' for name, value in set_env.items()))
        return "\n".join(lines) + "\n"


def _is_sshd(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("sshd")
    except psutil.NoSuchProcess:
        return False
