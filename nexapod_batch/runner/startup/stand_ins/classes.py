"""What stands in for the classes of `msgspec` and `typing` that our nouns are made with.

What is made here behaves as theirs for all that our nouns are used for, and what is not here is looked for in the real
modules. Classes that are defined later, as a plug-in's, are made by the real ones.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MSGSPEC", "STRUCTS", "TYPING"]


class _Named(type):
    """Makes a tuple with names of a class body."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = tuple(body.get("__annotations__", ()))
        body["_field_defaults"] = {field: body.pop(field) for field in fields if field in body}
        body["_fields"] = body["__match_args__"] = fields
        body["__slots__"] = ()
        body.update({field: _tuplegetter(at, "") for at, field in enumerate(fields)})
        return type(name, (_Tuple,), body)


class _Tuple(tuple):  # type: ignore[type-arg]
    """What all of them share."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()
    _field_defaults: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def __new__(cls, *values: Any, **named: Any) -> Any:
        return tuple.__new__(cls, _ordered(cls, cls._fields, cls._field_defaults, values, named))

    def __repr__(self) -> str:
        return _shown(self, self._fields, self)

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **changes: Any) -> Any:
        return type(self)(**{**self._asdict(), **changes})


class _NamedTuple(metaclass=_Named):
    """`typing.NamedTuple`."""


class _Protocol:
    """`typing.Protocol`: nothing to inherit."""


class _Field:
    """`msgspec.field`: what makes a default."""

    def __init__(self, *, default_factory: Any) -> None:
        self.default_factory = default_factory


class _Defined(type):
    """Makes a class of fields of a class body; values lie in `__dict__`."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **options: bool) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = tuple(body.get("__annotations__", ()))
        given = {field: body.pop(field) for field in fields if field in body}
        made = {one: value.default_factory for one, value in given.items() if type(value) is _Field}
        plain = {one: value for one, value in given.items() if one not in made}
        by_name = options.get("kw_only")

        def __init__(self: Any, *values: Any, **named: Any) -> None:  # noqa: N807
            if values and by_name:
                raise TypeError(f"{name}: every field is to be named")
            defaults = {**plain, **{one: make() for one, make in made.items() if one not in named}}
            self.__dict__.update(zip(fields, _ordered(type(self), fields, defaults, values, named), strict=True))

        body.update(__init__=__init__, __struct_fields__=fields)
        body.update({"__setattr__": _refuse, "__delattr__": _refuse} if options.get("frozen") else {"__hash__": None})
        return super().__new__(cls, name, bases, body)


class _Struct(metaclass=_Defined):
    """`msgspec.Struct`."""

    __struct_fields__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> Any:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(_values(self))

    def __repr__(self) -> str:
        return _shown(self, self.__struct_fields__, _values(self))


def _replace(record: Any, /, **changes: Any) -> Any:
    return type(record)(**{**record.__dict__, **changes})


def _ordered(cls: type, fields: tuple[str, ...], defaults: Any, values: tuple[Any, ...], named: Any) -> Any:
    """Return the values of all fields in order; TypeError when they do not fit."""
    if len(values) == len(fields) and not named:
        return values
    rest = fields[len(values) :]
    try:
        found = (*values, *[named[one] if one in named else defaults[one] for one in rest])
    except KeyError as error:
        raise TypeError(f"{cls.__name__} lacks {error}") from None
    if len(found) > len(fields) or not named.keys() <= set(rest):
        raise TypeError(f"{cls.__name__} does not take {sorted(named.keys() - set(rest)) or len(values)}")
    return found


def _values(record: Any) -> tuple[Any, ...]:
    return tuple([record.__dict__[name] for name in record.__struct_fields__])


def _shown(record: Any, fields: tuple[str, ...], values: tuple[Any, ...]) -> str:
    shown = [f"{name}={value!r}" for name, value in zip(fields, values, strict=True)]
    return f"{type(record).__name__}({', '.join(shown)})"


def _refuse(record: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(record).__name__}: {name!r} cannot be changed")


#: What the modules hold, by name.
MSGSPEC = {"Struct": _Struct, "field": _Field}
STRUCTS = {"replace": _replace}
TYPING = {
    "TYPE_CHECKING": False, "Any": object, "NamedTuple": _NamedTuple, "Protocol": _Protocol,
    "Tuple": tuple, "Type": type,
}  # fmt: skip
