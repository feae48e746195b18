"""A Dockerfile in its plainest form; what cannot be converted is named with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.errors import ImageError
from nexapod_batch.images.recipes.dockerfile import instructions, plain


def lines(text: str) -> list[str]:
    """Return the plain lines after FROM."""
    return plain(f"FROM scratch\n{text}", "Dockerfile").lines[1:]


def refusal(text: str) -> str:
    """Return what is said of a Dockerfile that cannot be converted."""
    with pytest.raises(ImageError) as caught:
        plain(text, "Dockerfile")
    return str(caught.value)


def test_instructions_are_joined_and_counted() -> None:
    """Comments between continued lines belong to nothing, words are upper case, the line is that of the first word."""
    text = "# escape nothing\n\nfrom  a\nRUN x && \\\n  # inside\n\n  y\n  COPY a b\nRUN last \\"
    found = [(one.line, one.word, one.rest) for one in instructions(text)]
    assert found == [(3, "FROM", "a"), (4, "RUN", "x && y"), (8, "COPY", "a b"), (9, "RUN", "last")]


def test_the_escape_directive_is_heard() -> None:
    """As Dockerfiles for Windows have it."""
    assert [one.rest for one in instructions("# escape=`\nRUN a `\n b\\\nRUN c")] == ["a b\\", "c"]


@pytest.mark.parametrize(
    ("given_", "plainly"),
    [
        ('ENV A=b C="d e"', ['ENV A="b"', 'ENV C="d e"']),
        ("ENV OLD some value", ['ENV OLD="some value"']),
        ("ARG N=3", ['ARG N="3"']),
        ('LABEL a="b c" d=e', ["LABEL a b c", "LABEL d e"]),
        ('RUN ["echo", "a b"]', ["RUN echo 'a b'"]),
        ("RUN echo $X", ["RUN echo $X"]),
        ('CMD ["cat", "/x y"]', ["CMD cat '/x y'"]),
        ("ENTRYPOINT run me", ["ENTRYPOINT run me"]),
        ("WORKDIR /a\nWORKDIR b\nCOPY x y", ["WORKDIR /a", "WORKDIR /a/b", "COPY x /a/b/y"]),
        ("COPY a b /c", ["COPY a /c/", "COPY b /c/"]),
        ("COPY . /", ["COPY . /"]),
        ('COPY --link ["a", "/c"]', ["COPY a /c"]),
        ("ADD a /b", ["COPY a /b"]),
        ("EXPOSE 80\nVOLUME /x\nSTOPSIGNAL 9\nMAINTAINER me\nHEALTHCHECK NONE", []),
    ],
)
def test_instructions_in_their_plainest_form(given_: str, plainly: list[str]) -> None:
    """One value in one line, targets absolute, lists as words of a shell."""
    assert lines(given_) == plainly


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("FROM b", "line 2: FROM: a second stage"),
        ("COPY --from=x a b", "line 2: COPY: --from another stage or image"),
        ("COPY --chmod=755 a b", "line 2: COPY: --chmod"),
        ("ADD https://h/x /x", "line 2: ADD: https://h/x is fetched from elsewhere"),
        ("ADD git@h:x.git /x", "line 2: ADD: git@h:x.git is fetched from elsewhere"),
        ("ADD a.tar.gz /x", "line 2: ADD: a.tar.gz would be unpacked"),
        ('COPY ["a b", "/c"]', "line 2: COPY: a b has a blank"),
        ("COPY ../a /b", "line 2: COPY: ../a lies outside"),
        ("COPY a", "line 2: COPY: names no source"),
        ("COPY 'a b", "line 2: COPY: a quote is not closed"),
        ("RUN --mount=type=cache,target=/x y", "line 2: RUN: --mount"),
        ("RUN <<EOF\nx\nEOF", "line 2: RUN: a here-document"),
        ("ONBUILD RUN x", "line 2: ONBUILD: cannot be converted"),
        ("HEALTHCHECK CMD x", "line 2: HEALTHCHECK: cannot be converted"),
        ('SHELL ["bash"]', "line 2: SHELL: cannot be converted"),
        ("ARG x", "line 2: ARG: x has no default"),
        ("ENV A='\"'", "line 2: ENV: a quote or backslash"),
        ("RUM x", "line 2: RUM: is no instruction"),
    ],
)
def test_what_cannot_be_converted_is_named_with_its_line(line: str, said: str) -> None:
    """And nothing else is, so that every fault is seen at once."""
    message = refusal(f"FROM a\n{line}\n")
    assert said in message
    assert "1 problem\n" in message


def test_every_fault_is_named() -> None:
    """Not only the first; a here-document is skipped as a whole."""
    message = refusal("FROM a AS b\nRUN <<E\nBOGUS\nE\nONBUILD x\nFROM c\n")
    assert [line.split(":")[0].strip() for line in message.splitlines()[2:]] == ["line 2", "line 5", "line 6"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "FROM: is missing"),
        ("RUN x\nFROM a", "line 1: RUN: stands before FROM"),
        ("FROM $B", "names an ARG without a value"),
        ("FROM --platform=x a", "--platform cannot"),
        ("FROM", "an empty name"),
    ],
)
def test_a_base_is_needed(text: str, said: str) -> None:
    """The first instruction but for ARG, and named in full."""
    assert said in refusal(text)


def test_arguments_before_the_base_count_there_only() -> None:
    """As in Docker."""
    found = plain("ARG V=3.12\nFROM python:${V}-slim\n", "Dockerfile")
    assert (found.base, found.lines) == ("python:3.12-slim", ["FROM python:3.12-slim"])


def test_what_the_image_will_not_do_is_a_warning() -> None:
    """USER and owners mean nothing there, and files come before every RUN."""
    found = plain("FROM a\nRUN x\nCOPY --chown=1:1 a /b\nUSER me\n", "Dockerfile")
    assert [one.split(": ")[0] for one in found.warnings] == ["line 3", "line 3", "line 4"]


@given(st.lists(st.sampled_from([
    "FROM a", "FROM a AS b", "RUN x \\", "COPY a b", "COPY", "ENV", "ENV A", "ENV A=1", "ARG", "LABEL", 'LABEL "', "RUN", "CMD [", 'CMD ["a"]',
    "WORKDIR", "USER", "# c", "", "RUN <<E", "E", "COPY --", "--", "\\", "HEALTHCHECK", "ADD ''", "\x00", "\u2028", "FROM ${", "ENV =",
]), max_size=12))  # fmt: skip
def test_any_text_is_converted_or_refused(parts: list[str]) -> None:
    """Never another exception, and never a line break inside a line."""
    try:
        found = plain("\n".join(parts), "Dockerfile")
    except ImageError:
        return
    assert not any("\n" in line for line in found.lines)
