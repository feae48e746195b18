"""What the fields of a statement may hold: the same rules when it is signed and when it is read."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING

from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from typing import NoReturn

    from nexapod_batch.model.job import Program
    from nexapod_batch.model.replica import Continuation
    from nexapod_batch.trust.statement import ContainerUse, GpuUse, Machine, Normalizer, SavedFile, Statement, Subject

__all__ = [
    "MAX_INT",
    "MAX_PATH",
    "MAX_SAVED",
    "MAX_SUBJECTS",
    "check_fields",
    "check_subjects",
    "is_hex",
    "is_key_id",
    "is_plain",
    "safe_name",
    "whole",
]

#: With more outputs than this the subject is the manifest alone.
MAX_SUBJECTS = 100

#: Files that a stopped replica may leave to go on from.
MAX_SAVED = 100

#: The largest number that every JSON reader keeps exactly.
MAX_INT = (1 << 53) - 1

#: Characters of a PATH or of the path of a program.
MAX_PATH = 8192

_MAX_WORD = 65_536  # characters of a word of a command
_MAX_TEXT = 1000  # characters of a host name, a detail, ...
_MAX_NAME = 4096  # bytes of a path

_HEX = "0123456789abcdef"
_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789_-"
_PLAIN = f"{_LOWER[:-2]}{_LOWER[:26].upper()}-"  # of a UUID, or what may stand for one
_BASE64 = f"{_PLAIN[:-1]}+/"

_BAD_PARTS = frozenset({"", ".", ".."})

_INTEGERS = (
    "replica.job", "replica.task", "replica.number", "agree", "wall_ms", "output_bytes",
    "started_ms", "finished_ms",
)  # fmt: skip
_MEASURED = ("cpu_ms", "max_rss_kib")  # whole numbers too, or None
_TEXTS = ("native_id", "host", "detail")
_SPELLED = {  # field -> the one way to spell it; no pattern takes a newline, so that all can be tried in one match
    "job_digest": r"[0-9a-f]{64}",
    "stdout_sha256": r"[0-9a-f]{64}",
    "stderr_sha256": r"[0-9a-f]{64}",
    "vote": r"[0-9a-f]{64}",
    "nonce": r"[0-9a-f]{32}",
    "job_uuid": r"[0-9A-Za-z-]{1,64}",
    "builder": r"SHA256:[A-Za-z0-9+/]{43}",
    "backend": r"[a-z0-9][a-z0-9_-]{0,63}",
    "isolation": r"none|files|container",
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MOST_PASSED = 100  # variables
_CONTAINER = {  # field of ContainerUse -> the one way to spell it
    "sha256": _SPELLED["job_digest"],
    "runtime": _SPELLED["backend"],
    "mode": r"[a-z0-9+-]{1,64}",
    "network": r"none|host",
}
_integers, _texts, _spelled = attrgetter(*_INTEGERS), attrgetter(*_TEXTS), attrgetter(*_SPELLED)


def check_fields(s: Statement) -> None:
    """Raise ValueError or TypeError unless every value but the subjects may be signed: used on both sides.

    Every statement that is ingested passes here, so that values are tried together and one by one only to name a fault.
    """
    _check_numbers(s)
    texts = _texts(s)
    if not "".join(texts).isprintable() or max(map(len, texts)) > _MAX_TEXT:
        _name_text(texts)
    words = _spelled(s)
    if not _all_spelled(*words):
        _name_word(words)
    if not (s.replica.job and s.replica.number and s.agree):
        raise ValueError("job, replica and agree start at 1")
    _check_lists(s)
    _check_uses(s)
    if s.continues is not None:
        _check_continuation(s.replica.number, s.continues)
    if s.saved:
        _check_saved(s.saved)


def _check_numbers(s: Statement) -> None:
    numbers = _integers(s)
    if set(map(type, numbers)) != {int} or min(numbers) < 0 or max(numbers) > MAX_INT:
        fault = next(f"{f} is {quoted(n, 40)}" for f, n in zip(_INTEGERS, numbers, strict=True) if not whole(n))
        raise ValueError(f"{fault}, wanted a whole number from 0 to 2^53 - 1")
    for name in _MEASURED:
        value = getattr(s, name)
        if value is not None and not whole(value):
            raise ValueError(f"{name} is {quoted(value, 40)}, wanted a whole number from 0 to 2^53 - 1, or null")


def _name_text(texts: tuple[str, ...]) -> NoReturn:
    """Raise the ValueError that names the first text that cannot be shown."""
    field, text = next((f, text) for f, text in zip(_TEXTS, texts, strict=True) if not _printable(text))
    raise ValueError(f"{field} is {quoted(text, 40)}, wanted at most {_MAX_TEXT} printable characters")


def _name_word(allowed: tuple[str, ...]) -> NoReturn:
    """Raise the ValueError that names the first word that is not spelled as it has to be."""
    pairs = zip(_SPELLED.items(), allowed, strict=True)
    field, word = next((f, word) for (f, pattern), word in pairs if not re.fullmatch(pattern, word))
    raise ValueError(f"{field} is {quoted(word, 80)}, which is not how one is spelled")


def _all_spelled(
    job: str, out: str, err: str, vote: str, nonce: str, uuid: str, builder: str, backend: str, how: str
) -> bool:
    """Say whether all are spelled as `_SPELLED` has it, without patterns: a runner that just started has none yet."""
    return (
        len(job) == len(out) == len(err) == len(vote) == 64
        and len(nonce) == 32
        and not f"{job}{out}{err}{vote}{nonce}".strip(_HEX)
        and is_plain(uuid)
        and is_key_id(builder)
        and _is_word(backend)
        and how in {"none", "files", "container"}
    )


def _is_word(text: str) -> bool:
    """Say whether a text is a word as backends and classes have it."""
    return 0 < len(text) <= 64 and not text.strip(_LOWER) and text[0] not in "_-"


def is_hex(text: str, digits: int) -> bool:
    """Say whether a text is so many lower-case hex digits."""
    return len(text) == digits and not text.strip(_HEX)


def is_plain(text: str) -> bool:
    """Say whether a text is a plain word of letters, digits and dashes, at most 64 of them."""
    return 0 < len(text) <= 64 and not text.strip(_PLAIN)


def is_key_id(text: str) -> bool:
    """Say whether a text is spelled as the id of a key."""
    return len(text) == 50 and text.startswith("SHA256:") and not text[7:].strip(_BASE64)


def _check_lists(s: Statement) -> None:
    if s.exit_code is not None and (type(s.exit_code) is not int or abs(s.exit_code) > MAX_INT):
        raise ValueError(f"exit_code is {quoted(s.exit_code, 40)}, wanted a whole number or nothing")
    if not s.distinct or not all(map(_is_word, s.distinct)):
        raise ValueError("distinct is empty or holds something that is no word")
    if type(s.classes) is not dict:
        raise TypeError("class is no object")
    for key, value in s.classes.items():
        if not _is_word(key) or not _printable(value):
            raise ValueError(f"class {quoted(key, 40)} is {quoted(value, 40)}, wanted printable text")
    _check_inputs(s)


def _check_inputs(s: Statement) -> None:
    for target, digest in s.inputs:
        if not safe_name(target) or not is_hex(digest, 64):
            raise ValueError(f"input {quoted(target, 80)} has an unsafe name or no digest")


def _check_uses(s: Statement) -> None:
    if s.container is not None:
        _check_container(s.container)
    for gpu in s.gpus:
        _check_gpu(gpu)
    if s.machine is not None:
        _check_machine(s.machine)
    if s.program is not None:
        _check_program(s.program)
    _check_normalizers(s.normalizers)
    if s.trail is not None and not (whole(s.trail.notes) and s.trail.notes and is_hex(s.trail.head, 64)):
        raise ValueError(f"logTrail is {quoted(s.trail.head, 80)} after {quoted(s.trail.notes, 40)} notes")
    if s.possession and not is_hex(s.possession, 64):
        raise ValueError(f"possession is {quoted(s.possession, 80)}, wanted 64 hex digits")
    for name, digest in s.passed:
        if not _VARIABLE.fullmatch(name) or not is_hex(digest, 64):
            raise ValueError(f"environment {quoted(name, 80)} is no variable with a digest")
    if len(s.passed) > _MOST_PASSED:
        raise ValueError(f"environment has {len(s.passed)} variables, wanted at most {_MOST_PASSED}")


def _check_continuation(number: int, continues: Continuation) -> None:
    if not (whole(continues.number) and 0 < continues.number < number):
        raise ValueError(f"continues replica {quoted(continues.number, 40)}, wanted one before {number}")
    if not 0 < len(continues.files) <= MAX_SAVED:
        raise ValueError(f"continues from {len(continues.files)} files, wanted 1 to {MAX_SAVED}")
    for name, digest in continues.files:
        _check_state(name, digest)


def _check_saved(saved: tuple[SavedFile, ...]) -> None:
    if len(saved) > MAX_SAVED:
        raise ValueError(f"saved {len(saved)} files, wanted at most {MAX_SAVED}")
    for file in saved:
        _check_state(file.name, file.sha256)
        if not whole(file.size):
            raise ValueError(f"saved {quoted(file.name, 80)} has an impossible size")
    names = [file.name for file in saved]
    if names != sorted(set(names)):
        raise ValueError("saved files are not sorted, or stand there twice")


def _check_state(name: str, digest: str) -> None:
    if not safe_name(name) or not is_hex(digest, 64):
        raise ValueError(f"state {quoted(name, 80)} has an unsafe name or no digest")


def _check_normalizers(normalizers: tuple[Normalizer, ...]) -> None:
    for used in normalizers:
        if not used.output or not _printable(used.output):
            raise ValueError(f"normalizers.output is {quoted(used.output, 80)}, wanted printable text")
        if not used.command or not all(type(word) is str and len(word) <= _MAX_WORD for word in used.command):
            raise ValueError(f"normalizers.command of {quoted(used.output, 80)} is no command")
        if not (used.image == "" or is_hex(used.image, 64)):
            raise ValueError(f"normalizers.image is {quoted(used.image, 80)}, wanted 64 hex digits or nothing")


def _check_gpu(used: GpuUse) -> None:
    if not used.uuid or not _printable(used.uuid) or not _printable(used.model):
        raise ValueError(f"GPU {quoted(used.uuid, 80)} of model {quoted(used.model, 80)}: wanted printable text")
    for field in ("time_ms", "peak_mib", "energy_mj"):
        value = getattr(used, field)
        if value is not None and not whole(value):
            raise ValueError(f"gpus.{field} is {quoted(value, 40)}, wanted a whole number or nothing")


def _check_machine(machine: Machine) -> None:
    if not is_hex(machine.boot, 32) or not (machine.id == "" or is_hex(machine.id, 32)):
        raise ValueError(f"machine is {quoted(machine.boot, 40)}, {quoted(machine.id, 40)}: wanted 32 hex digits each")
    if not whole(machine.booted_ms):
        raise ValueError(f"machine.booted_ms is {quoted(machine.booted_ms, 40)}, wanted a whole number")


def _check_program(program: Program) -> None:
    file, path, digest = program
    if type(file) is not str or not 0 < len(file) <= MAX_PATH or not file.isprintable():
        raise ValueError(f"program.file is {quoted(file, 80)}, wanted 1 to {MAX_PATH} printable characters")
    if type(path) is not str or len(path) > MAX_PATH or not path.isprintable():
        raise ValueError(f"program.path is {quoted(path, 80)}, wanted at most {MAX_PATH} printable characters")
    if type(digest) is not str or not (digest == "" or is_hex(digest, 64)):
        raise ValueError(f"program.sha256 is {quoted(digest, 80)}, wanted 64 hex digits or nothing")


def _check_container(used: ContainerUse) -> None:
    for field, pattern in _CONTAINER.items():
        if not re.fullmatch(pattern, getattr(used, field)):
            got = quoted(getattr(used, field))
            raise ValueError(f"container.{field} is {got}, which is not how one is spelled")
    if not used.image or not _printable(used.image) or not _printable(used.version):
        raise ValueError(f"container is {quoted(used.image, 80)}, {quoted(used.version, 40)}: wanted printable text")


def whole(value: object) -> bool:
    """Say whether a value is an integer from 0 to 2^53 - 1 (and no boolean)."""
    return type(value) is int and 0 <= value <= MAX_INT


def _printable(value: object) -> bool:
    return type(value) is str and len(value) <= _MAX_TEXT and value.isprintable()


def check_subjects(subjects: tuple[Subject, ...], *, manifest: bool) -> None:
    """Raise ValueError or TypeError unless these may be the subjects of a statement."""
    for subject in subjects:
        _check_subject(subject)
    if manifest:
        if len(subjects) != 1 or subjects[0].name != "manifest":
            raise ValueError("a manifest is the only subject, and is called manifest")
    elif not 0 < len(subjects) <= MAX_SUBJECTS:
        raise ValueError(f"{len(subjects)} subjects, wanted 1 to {MAX_SUBJECTS}, or the manifest")
    elif len(subjects) > 1 and len({subject.name for subject in subjects}) != len(subjects):
        raise ValueError("two subjects have the same name")


def _check_subject(subject: Subject) -> None:
    if not safe_name(subject.name):
        raise ValueError(f"subject {quoted(subject.name, 80)} is no plain relative path")
    if not is_hex(subject.sha256, 64) or not (subject.normalized is None or is_hex(subject.normalized, 64)):
        raise ValueError(f"subject {quoted(subject.name, 80)} has a digest that is not 64 lower-case hex digits")
    if subject.size is not None and not whole(subject.size):
        raise ValueError(f"subject {quoted(subject.name, 80)} has an impossible size")


def _control(name: str) -> bool:
    """Say whether a name holds C0, DEL, C1, a line separator, or a character that turns the writing direction."""
    return any(
        char < " " or "\x7f" <= char <= "\x9f" or "\u2028" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"
        for char in name
    )


def _utf8_length(name: str) -> int:
    try:
        return len(name.encode())
    except UnicodeEncodeError:  # a lone surrogate: the name was no UTF-8
        return _MAX_NAME + 1


def safe_name(name: str) -> bool:
    """Say whether `name` is a relative path without `.`, `..` and control characters, at most 4,096 bytes of UTF-8."""
    # isprintable() also refuses some harmless blanks; lone surrogates (names that are no UTF-8) are not printable.
    if not name or not _BAD_PARTS.isdisjoint(name.split("/")) or len(name) > _MAX_NAME:
        return False
    return (name.isascii() and name.isprintable()) or (_utf8_length(name) <= _MAX_NAME and not _control(name))
