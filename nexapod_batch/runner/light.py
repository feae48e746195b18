"""Stand-ins for `dataclasses` and `typing` in a runner that starts: classes of fields, defined ten times as fast.

The standard library compiles methods for every class that it makes. That pays in a long life; a runner may live for
one replica, and takes longer to define its nouns than to use them. What is made here behaves as theirs for all that
our nouns are used for, and what is not here is looked for in the real modules. Classes that are defined later, as a
plug-in's, may be made by either.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DATACLASSES", "TYPING"]

_NONE: Any = object()


class _Named(type):
    """Makes a tuple with names of a class body."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = tuple(body.get("__annotations__", ()))
        body["_field_defaults"] = {one: body.pop(one) for one in fields if one in body}
        body["_fields"] = body["__match_args__"] = fields
        body["__slots__"] = ()
        body.update({one: _tuplegetter(at, "") for at, one in enumerate(fields)})
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
    """`dataclasses.field`: what makes a default."""

    def __init__(self, *, default_factory: Any) -> None:
        self.default_factory = default_factory


def _dataclass(cls: Any = None, *, frozen: bool = False, slots: bool = False, kw_only: bool = False) -> Any:
    """Do as `dataclasses.dataclass` does; values lie in `__dict__` also where slots are asked for."""
    if cls is None:
        return lambda cls: _dataclass(cls, frozen=frozen, slots=slots, kw_only=kw_only)
    fields = tuple(cls.__dict__.get("__annotations__", ()))  # noqa: RUF063 - `inspect` is what we do without
    plain = {one: cls.__dict__[one] for one in fields if one in cls.__dict__}
    made = {one: plain.pop(one).default_factory for one in fields if type(plain.get(one)) is _Field}

    def __init__(self: Any, *values: Any, **named: Any) -> None:  # noqa: N807
        if values and kw_only:
            raise TypeError(f"{cls.__name__}: every field is to be named")
        defaults = {**plain, **{one: make() for one, make in made.items() if one not in named}}
        self.__dict__.update(zip(fields, _ordered(cls, fields, defaults, values, named), strict=True))

    cls.__init__, cls.__eq__, cls.__repr__ = __init__, _equal, _told
    cls.__hash__ = _hash if frozen else None
    cls._light = fields
    if frozen:
        cls.__setattr__ = cls.__delattr__ = _refuse
    for one in made:
        delattr(cls, one)
    return cls


def _replace(one: Any, /, **changes: Any) -> Any:
    return type(one)(**{**one.__dict__, **changes})


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


def _values(one: Any) -> tuple[Any, ...]:
    return tuple([one.__dict__[name] for name in one._light])  # noqa: SLF001


def _equal(one: Any, other: Any) -> Any:
    return _values(one) == _values(other) if type(one) is type(other) else NotImplemented


def _hash(one: Any) -> int:
    return hash(_values(one))


def _told(one: Any) -> str:
    return _shown(one, one._light, _values(one))  # noqa: SLF001


def _shown(one: Any, fields: tuple[str, ...], values: tuple[Any, ...]) -> str:
    return f"{type(one).__name__}({', '.join(f'{name}={value!r}' for name, value in zip(fields, values, strict=True))})"


def _refuse(one: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(one).__name__}: {name!r} cannot be changed")


#: What the two modules hold, by name.
DATACLASSES = {"dataclass": _dataclass, "field": _Field, "replace": _replace, "_FIELD": _NONE}
TYPING = {
    "TYPE_CHECKING": False, "Any": object, "NamedTuple": _NamedTuple, "Protocol": _Protocol,
    "Tuple": tuple, "Type": type,
}  # fmt: skip
