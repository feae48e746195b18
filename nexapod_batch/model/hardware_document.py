"""A hardware profile as a plain document of JSON types and back, strictly: nothing missing, nothing more. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import to_builtins

from nexapod_batch.model.hardware import Benchmark, Cpu, Disk, Gpu, Profile, Program

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["gpu_document", "gpu_of", "profile_document", "profile_of"]

Document = dict[str, Any]
_Noun = TypeVar("_Noun", Benchmark, Cpu, Disk, Gpu, Profile, Program)

_MAX_TEXT = 4096  # characters
_MAX_ITEMS = 1024  # GPUs of a machine, features of a processor
_MAX_INT = (1 << 53) - 1


def profile_document(profile: Profile) -> Document:
    """Return the document of a profile."""
    document: Document = to_builtins(profile)
    return document


def gpu_document(gpu: Gpu) -> Document:
    """Return the document of one GPU."""
    document: Document = to_builtins(gpu)
    return document


def profile_of(document: object) -> Profile:
    """Return the profile of a document; ValueError or TypeError names the field that cannot be one."""
    return _noun(Profile, document)


def gpu_of(document: object) -> Gpu:
    """Return the GPU of a document; ValueError or TypeError names the field that cannot be one."""
    return _noun(Gpu, document)


def _noun(kind: type[_Noun], document: object) -> _Noun:
    name = kind.__name__.lower()
    if type(document) is not dict:
        raise TypeError(f"{name} is no object")
    known = _FIELDS[kind]
    if document.keys() != known.keys():
        odd = ", ".join(sorted(map(str, document.keys() ^ known.keys())))
        raise ValueError(f"{name} has other fields than it should: {odd:.200}")
    values = {key: _value(f"{name}.{key}", annotation, document[key]) for key, annotation in known.items()}
    return kind(**values)


def _value(where: str, annotation: str, value: object) -> Any:  # noqa: ANN401 - of the type that the annotation says
    if annotation.endswith(" | None"):
        if value is None:
            return None
        return _value(where, annotation.removesuffix(" | None"), value)
    if annotation.startswith("tuple["):
        if type(value) not in {list, tuple} or len(value) > _MAX_ITEMS:  # type: ignore[arg-type] # len() of a list
            raise TypeError(f"{where} is no list, or too long a one")
        inner = annotation.removeprefix("tuple[").removesuffix(", ...]")
        return tuple(_value(where, inner, one) for one in value)  # type: ignore[attr-defined] # as above
    return _READERS[annotation](where, value)


def _text(where: str, value: object) -> str:
    if type(value) is not str or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError(f"{where} is {value!r:.80}, wanted printable text")
    return value


def _whole(where: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INT:
        raise ValueError(f"{where} is {value!r:.80}, wanted a whole number")
    return value


def _real(where: str, value: object) -> float:
    if type(value) is not float or not 0 <= value < float("inf"):
        raise ValueError(f"{where} is {value!r:.80}, wanted a number with a decimal point")
    return value


#: Fields of every noun, with their annotations.
_FIELDS: dict[type, dict[str, str]] = {
    kind: kind.__annotations__ for kind in (Benchmark, Cpu, Disk, Gpu, Profile, Program)
}

#: By the annotation of the field, as the nouns spell it.
_READERS: dict[str, Callable[[str, object], object]] = {
    "str": _text,
    "int": _whole,
    "float": _real,
    "Cpu": lambda _, value: _noun(Cpu, value),
    "Disk": lambda _, value: _noun(Disk, value),
    "Gpu": lambda _, value: _noun(Gpu, value),
    "Program": lambda _, value: _noun(Program, value),
    "Benchmark": lambda _, value: _noun(Benchmark, value),
}
