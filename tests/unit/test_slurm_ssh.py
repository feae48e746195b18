"""What SSH needs and no connection shows: known_hosts, and command lines that arrive through any login shell."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.ssh.channel import command_line
from nexapod_backends.slurm.ssh.login import Listed, check_host_key, fingerprint, listed

from nexapod_batch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, OTHER = b"\0\0\0\x0bssh-ed25519" + b"k" * 32, b"\0\0\0\x0bssh-ed25519" + b"o" * 32
TEXT, OTHER_TEXT = base64.b64encode(KEY).decode(), base64.b64encode(OTHER).decode()
HOSTILE = ["two words", "it's", 'a "quote"', "$(id)", "`id`", "a;b", "#", "a&b|c>d", "*", "~", "{a,b}", "umlaut-\u00e4", "x" * 300, "%s"]
#: What only shells of Bourne's family take in single quotes: the commands of this program do not use it.
BOURNE = ["", "back\\slash", "new\nline", "!!", "!$"]
MARK = "nexapod-mark"


def line(hosts: str, key: str = TEXT, kind: str = "ssh-ed25519") -> str:
    """Return a line of known_hosts."""
    return f"{hosts} {kind} {key} somebody@somewhere"


@pytest.mark.parametrize(
    ("hosts", "name", "known"),
    [
        ("login.example.org", "login.example.org", True),
        ("login.example.org", "LOGIN.example.org", True),
        ("login.example.org", "login.example.org.evil", False),
        ("login.example.org", "loginXexample.org", False),
        ("login.example.org", "[login.example.org]:2222", False),
        ("[login.example.org]:2222", "[login.example.org]:2222", True),
        ("a,login.example.org,b", "login.example.org", True),
        ("*.example.org", "login.example.org", True),
        ("*.example.org,!login.example.org", "login.example.org", False),
        ("login?.example.org", "login1.example.org", True),
        ("login?.example.org", "login12.example.org", False),
        ("|1|nonsense", "login.example.org", False),
        ("|1|***|***", "login.example.org", False),
        ("|2|c2FsdA==|c2FsdA==", "login.example.org", False),
    ],
)
def test_who_a_line_is_about(hosts: str, name: str, known: bool) -> None:
    """Names, lists, patterns, exceptions and ports as OpenSSH means them."""
    assert listed(line(hosts), name) == ((Listed(1, "ssh-ed25519", KEY),) if known else ())


def test_hashed_names_are_found(tmp_path: Path) -> None:
    """As ssh-keygen hashes them."""
    file = tmp_path / "known_hosts"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    kind, key = (tmp_path / "key.pub").read_text().split()[:2]
    file.write_text(f"[login.example.org]:2222 {kind} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "example" not in file.read_text()
    (found,) = listed(file.read_text(), "[login.example.org]:2222")
    assert found.blob == base64.b64decode(key)
    assert listed(file.read_text(), "login.example.org") == ()
    said = subprocess.run(["ssh-keygen", "-l", "-f", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True).stdout
    assert fingerprint(found.blob) in said


def test_lines_that_make_no_sense_are_no_keys() -> None:
    """Comments, half lines, broken base64, authorities."""
    text = "\n".join(["", "# h ssh-ed25519 " + TEXT, "h", "h ssh-ed25519", "h ssh-ed25519 ***", "@cert-authority " + line("h"), "\0\0\0"])
    assert listed(text, "h") == ()


def test_the_very_key_is_needed() -> None:
    """Any of the listed keys will do, and no other."""
    check_host_key("/f", "\n".join([line("h", OTHER_TEXT), line("h")]), "h", "ssh-ed25519", KEY)
    with pytest.raises(ConfigError, match="has changed"):
        check_host_key("/f", line("h", OTHER_TEXT), "h", "ssh-ed25519", KEY)


def test_a_changed_key_is_named_with_its_place() -> None:
    """File, line, both fingerprints, and the command that forgets the old one."""
    with pytest.raises(ConfigError) as caught:
        check_host_key("/some folder/hosts", f"# mine\n{line('[h]:22022', OTHER_TEXT)}", "[h]:22022", "ssh-ed25519", KEY)
    said = str(caught.value)
    for part in (fingerprint(KEY), fingerprint(OTHER), "(line 2)", "/some folder/hosts", "ssh-keygen -R '[h]:22022' -f '/some folder/hosts'"):
        assert part in said


def test_an_unknown_host_is_refused() -> None:
    """Nothing is trusted because it is new."""
    with pytest.raises(ConfigError, match=r"(?s)not known: /f has no line for it.*SHA256:.*log in once by hand"):
        check_host_key("/f", line("other"), "h", "ssh-ed25519", KEY)


def test_a_revoked_key_is_refused_though_it_is_listed() -> None:
    """Whatever else the file says."""
    with pytest.raises(ConfigError, match="is revoked in /f, line 2"):
        check_host_key("/f", f"{line('h')}\n@revoked {line('*')}", "h", "ssh-ed25519", KEY)


def shells() -> list[str]:
    """Return the login shells that this machine has."""
    return [found for name in ("sh", "bash", "dash", "zsh", "ksh", "busybox", "fish", "tcsh", "csh") if (found := shutil.which(name))]


@pytest.fixture(params=shells(), ids=lambda path: Path(path).name)
def login(request: pytest.FixtureRequest) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Yield what runs a line in a login shell as sshd does, after a profile that talks."""
    shell = [request.param, *(["sh"] if request.param.endswith("busybox") else [])]

    def run(words: list[str], data: bytes = b"", *, size: int | None = None, clean: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        text = command_line(words, MARK, 20, len(data) if size is None else size, clean=clean)
        assert not set("\n!\\") & set(command_line(["word"], MARK, 20, 5, clean=True))
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", **(env or {})}
        return subprocess.run([*shell, "-c", f"echo noise; {text}"], input=data, capture_output=True, env=environment, check=False, timeout=120)

    run.family = Path(request.param).name  # type: ignore[attr-defined]
    return run


def after(said: bytes) -> bytes:
    """Return what stands between the two marks."""
    before, mark, rest = said.partition(MARK.encode())
    assert mark
    assert before in {b"noise\n", b""}
    answer, mark, code = rest.partition(MARK.encode() + b":")
    assert mark
    assert re.fullmatch(rb"[0-9]{1,3};", code)
    return answer


def test_words_arrive_unchanged(login: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    """Nothing in a word means anything to a shell on the way."""
    words = HOSTILE + (BOURNE if login.family not in {"fish", "tcsh", "csh"} else [])  # type: ignore[attr-defined]
    done = login(["printf", "%s\\0", *words])
    assert after(done.stdout).split(b"\0")[:-1] == [word.encode() for word in words]


def test_input_arrives_whole_or_the_command_does_not_start(login: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    """A connection that ends in the middle of a script must not submit half of it."""
    data = bytes(range(256)) * 1_000
    assert after(login(["cat"], data).stdout) == data
    half = login(["echo", "started"], b"half", size=8)
    assert (half.returncode, b"started" in half.stdout) == (74, False)
    assert after(login(["cat"]).stdout) == b""


def test_settings_for_slurm_do_not_get_through(login: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    """What a profile sets for Slurm's commands is taken away, SLURM_CONF and what we set are not."""
    env = {"SBATCH_PARTITION": "x", "SQUEUE_FORMAT": "y", "SLURM_CLUSTERS": "z", "SLURM_CONF": "/c", "MINE": "m\nSLURM_FAKE=1"}
    said = after(login(["env", "SLURM_TIME_FORMAT=standard", "env"], env=env).stdout).decode().split("\n")
    assert {"SLURM_CONF=/c", "SLURM_TIME_FORMAT=standard", "MINE=m"} <= set(said)
    assert not [one for one in said if one.startswith(("SBATCH_", "SQUEUE_", "SLURM_CLUSTERS"))]


def test_exit_codes_and_errors_come_back(login: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    """The command's own, and 127 for one that is not there."""
    done = login(["sh", "-c", "echo bad >&2; exit 3"])
    assert (done.returncode, after(done.stderr)) == (3, b"bad\n")
    assert login(["no-such-command"]).returncode == 127
