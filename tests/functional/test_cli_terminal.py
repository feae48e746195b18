"""What a person at a terminal sees: the bar while waiting, output as it is written, and nothing of either in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from homes import PROGRAM, TRUE, Home

#: Writes two lines half a second apart, from the one replica that there is.
LINES = """\
[job]
name = "lines"
command = ["sh", "-c", "echo first; sleep 0.5; echo second; printf 'no newline'"]
[quorum]
agree = 1
replicas = 1
distinct = "run"
"""


def until_closed(master: int) -> str:
    """Return what a terminal gets until the last process has closed it."""
    seen = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # EIO: nobody is there
            break
        if not data:
            break
        seen += data
    os.close(master)
    return seen.decode("utf-8", "surrogateescape")


def on_terminal(home: Home, *argv: object, pipe: bool = False, **env: str) -> tuple[int, str, str]:
    """Run the program on a new terminal; return exit code, what the terminal got, and stdout where it is a `pipe`."""
    master, slave = pty.openpty()
    out = open(home.folder / "out", "w+b") if pipe else None  # noqa: SIM115 - closed below
    process = subprocess.Popen(
        [PROGRAM, *map(str, argv)],
        env={**home.env, "TERM": "xterm", "COLUMNS": "120", **env},
        stdin=slave,
        stdout=out or slave,
        stderr=slave,
    )
    os.close(slave)
    seen = until_closed(master)
    code = process.wait(timeout=120)
    piped = b""
    if out is not None:
        out.seek(0)
        piped = out.read()
        out.close()
    return code, seen, piped.decode("utf-8", "surrogateescape")


#: Tells of inputs on their way as a backend does, and ends when half of them are there.
SENDING = """
import sys
from pathlib import Path
from nexapod_batch.cli.rendering.progress import progress
from nexapod_batch.coordinator.placement.on_the_way import OnTheWay
with progress() as shown:
    way = OnTheWay(Path(sys.argv[1]), "far", 1, shown)
    way.begin(20_000, 40_000_000)
    way.sent(20_000_000)
print("sent")
"""


def test_inputs_on_their_way_are_a_bar_that_goes_away(home: Home) -> None:
    """With the node, how many files there are, and how much of them was sent; in the end the line is free again."""
    master, slave = pty.openpty()
    argv = [sys.executable, "-c", SENDING, str(home.folder / "staging/1.json")]
    env = {**home.env, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}
    process = subprocess.Popen(argv, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = until_closed(master)
    assert process.wait(timeout=120) == 0
    bar, _, after = seen.rpartition("\x1b[2K")
    assert "20,000 inputs to far" in bar
    assert "20.0/40.0 MB" in bar
    assert after.strip() == "sent"
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1


def test_waiting_shows_a_bar_that_goes_away(home: Home) -> None:
    """The bar counts tasks and names their states; in the end the cursor is back and its line is cleared."""
    code, seen, _ = on_terminal(home, "submit", home.descriptor(LINES), "--wait", NO_COLOR="1")
    assert code == 0
    bar, _, after = seen.rpartition("\x1b[2K")
    assert "waiting" in bar
    assert "0/1 1 active" in bar
    assert "1/1 1 accepted" in bar
    assert "\u2501" not in after
    assert after.startswith("job 1 'lines': accepted")
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1


def test_the_bar_stays_out_of_a_pipe(home: Home) -> None:
    """With stdout elsewhere the bar is on the terminal all the same, and stdout holds data alone."""
    code, seen, piped = on_terminal(home, "submit", home.descriptor(LINES), "--wait", "--json", pipe=True)
    assert (code, "1/1" in seen) == (0, True)
    assert piped.startswith('{"schema": 1, "job": 1')
    assert "\x1b" not in piped
    assert "waiting" not in piped


def test_no_colour_when_asked(home: Home) -> None:
    """NO_COLOR leaves no colour, on the bar and in the verdict; without it the state is green."""
    job = home.descriptor(TRUE)
    assert "\x1b[32maccepted\x1b[0m" in on_terminal(home, "submit", job, "--wait")[1]
    assert "\x1b[32m" not in on_terminal(home, "submit", job, "--wait", NO_COLOR="1")[1]


def test_without_a_terminal_there_is_no_bar(home: Home) -> None:
    """Into files and pipes no bar and no control character is written."""
    done = home.submit(LINES, "--wait")
    assert (done.code, "waiting" in done.out + done.err, "\x1b" in done.out + done.err) == (0, False, False)


def test_follow_prints_each_line_once(home: Home) -> None:
    """`submit --follow` waits, and its stdout holds what the task wrote, whole and in order, before the verdict."""
    done = home.submit(LINES, "--follow")
    assert done.code == 0
    assert done.out.count("first\nsecond\nno newline") == 1
    assert done.out.index("no newline") < done.out.index("job 1 'lines': accepted")


def test_follow_on_a_terminal_has_no_bar_in_its_way(home: Home) -> None:
    """What the task writes begins and ends its own lines."""
    code, seen, _ = on_terminal(home, "submit", home.descriptor(LINES), "--follow")
    assert code == 0
    assert "\r\nfirst\r\nsecond\r\nno newline" in seen
    assert "waiting" not in seen


def test_follow_of_logs_ends_with_the_task(home: Home) -> None:
    """`logs --follow` prints either stream to its end and returns."""
    home.submit(LINES.replace("echo second", "echo oops >&2"), "--wait")
    assert home.call("logs", "1", "--follow").out == "first\nno newline"
    assert home.call("logs", "last_0", "--follow", "--stderr").out == "oops\n"


def test_follow_of_logs_needs_nobody_who_waits(home: Home) -> None:
    """After a `submit` that does not wait, `logs --follow` takes in the report itself, and returns."""
    home.submit(LINES)
    assert home.call("logs", "1", "--follow").out == "first\nsecond\nno newline"
    assert home.json("show", "1")["job"]["state"] == "accepted"


#: Clears the screen, sets a title, hides and reorders words, ends lines in three ways, and is no text at the end.
HOSTILE = b"\x1b[2J\x1b]0;t\x07a\xe2\x80\xaeb\xe2\x80\x8bc\xc2\x9b1m\r50%\r100%\r\nend\n\xff\xfe"
SHOWN = "\\x1b[2J\\x1b]0;t\\x07a\\u202eb\\u200bc\\x9b1m\r\n50%\r\n100%\r\nend\r\n\\xff\\xfe"


def test_logs_cannot_act_on_a_terminal(home: Home) -> None:
    """What a task wrote is spelt out on a terminal, whatever prints it; `--raw`, files and pipes get its bytes."""
    octal = "".join(f"\\\\{byte:03o}" for byte in HOSTILE)
    job = LINES.replace("echo first; sleep 0.5; echo second; printf 'no newline'", f"printf '{octal}'; printf '{octal}' >&2")
    seen = on_terminal(home, "submit", home.descriptor(job), "--follow", NO_COLOR="1")[1]
    assert SHOWN in seen
    assert "\x1b" not in seen
    for argv in ((), ("--stderr",), ("--follow",)):
        assert on_terminal(home, "logs", "1", *argv)[1].replace("\n", "\r\n").replace("\r\r", "\r") == SHOWN
    for argv, pipe in ((("--raw",), False), ((), True), (("--all",), True)):
        _, seen, piped = on_terminal(home, "logs", "1", *argv, pipe=pipe)
        got = (piped if pipe else seen.replace("\r\n", "\n")).encode("utf-8", "surrogateescape")
        assert HOSTILE.replace(b"\r\n", b"\n") in got.replace(b"\r\n", b"\n")


def test_what_was_typed_cannot_act_on_a_terminal(home: Home) -> None:
    """A name with control characters is spelt out in usage errors and in refusals."""
    for argv in (("submit", "a\x1b[2Jb"), ("show", "1\x1b[2J"), ("ls\x1b[2J",), ("ls", "--no\x1b[2J"), ("logs", "\u202e7")):
        code, seen, _ = on_terminal(home, *argv, NO_COLOR="1")
        assert code != 0
        assert "\x1b" not in seen
        assert "\u202e" not in seen


def test_logs_of_a_silent_task_say_so(home: Home) -> None:
    """Nothing written is no fault, but it is said, on stderr."""
    assert home.submit(TRUE, "--wait").code == 0
    for argv, name in ((["logs", "1"], "stdout"), (["logs", "1", "--all"], "stdout"), (["logs", "1", "--stderr"], "stderr")):
        done = home.call(*argv)
        assert (done.code, done.err) == (0, f"1_0 wrote nothing to {name}\n")
    assert home.json("logs", "1", "--stderr") == {"schema": 1, "logs": []}
