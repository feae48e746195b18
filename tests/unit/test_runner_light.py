"""The stand-ins for msgspec and typing: what our nouns need of both is the same."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from nexapod_batch.runner.startup.stand_ins import classes


def point(base: Any) -> Any:
    """Define a tuple with names."""

    class Point(base):
        x: int
        y: int
        name: str = "origin"

        @property
        def far(self) -> int:
            return int(self.x + self.y)

    return Point


def box(module: Any, **options: bool) -> Any:
    """Define a class of fields."""

    class Box(module["Struct"], **options):  # type: ignore[name-defined] # one of two modules
        a: int
        b: str = "b"
        c: list = module["field"](default_factory=list)  # type: ignore[type-arg]

        @property
        def both(self) -> str:
            return f"{self.a}{self.b}"

    return Box


REAL = {"Struct": msgspec.Struct, "field": msgspec.field, "replace": msgspec.structs.replace}
LIGHT = {**classes.MSGSPEC, **classes.STRUCTS}
POINTS = [point(typing.NamedTuple), point(classes.TYPING["NamedTuple"])]
BOXES = [box(module, frozen=True, kw_only=True) for module in (REAL, LIGHT)]


@pytest.mark.parametrize("made", POINTS)
def test_a_tuple_with_names(made: Any) -> None:
    """Made by position, by name, with defaults; read, compared, taken apart, changed."""
    one = made(1, y=2)
    assert (one.x, one.y, one.name, one.far) == (1, 2, "origin", 3)
    assert one == (1, 2, "origin") == made(1, 2, "origin")
    assert one._replace(x=5) == (5, 2, "origin")
    assert one._asdict() == {"x": 1, "y": 2, "name": "origin"}
    assert made._fields == ("x", "y", "name")
    assert repr(one) == "Point(x=1, y=2, name='origin')"
    assert hash(one) == hash((1, 2, "origin"))
    assert made(x=1, y=2) == one


@pytest.mark.parametrize("made", POINTS)
@pytest.mark.parametrize(("values", "named"), [((1,), {}), ((1, 2, 3, 4), {}), ((1, 2), {"z": 3}), ((1, 2), {"x": 3})])
def test_a_tuple_refuses_what_does_not_fit(made: Any, values: tuple[int, ...], named: dict[str, int]) -> None:
    """Too few, too many, unknown, twice."""
    with pytest.raises(TypeError):
        made(*values, **named)


@pytest.mark.parametrize(("made", "module"), [(BOXES[0], REAL), (BOXES[1], LIGHT)])
def test_a_class_of_fields(made: Any, module: Any) -> None:
    """Made by name, with defaults of its own; compared by value and kind; never changed."""
    one, other = made(a=1), made(a=1)
    assert (one.a, one.b, one.c, one.both) == (1, "b", [], "1b")
    assert one == other
    assert one.c is not other.c
    assert one != made(a=2)
    assert one != (1, "b", [])
    assert module["replace"](one, b="z").both == "1z"
    assert repr(one) == "Box(a=1, b='b', c=[])"
    with pytest.raises(AttributeError):
        one.a = 2
    with pytest.raises(AttributeError):
        del one.a


@pytest.mark.parametrize("made", BOXES)
@pytest.mark.parametrize(("values", "named"), [((), {}), ((1,), {}), ((), {"a": 1, "d": 2})])
def test_a_class_refuses_what_does_not_fit(made: Any, values: tuple[int, ...], named: dict[str, int]) -> None:
    """Nothing for a field, a value without a name, an unknown name."""
    with pytest.raises(TypeError):
        made(*values, **named)


@pytest.mark.parametrize("module", [REAL, LIGHT])
def test_a_class_that_may_change(module: Any) -> None:
    """By position as well; no hash; equal by value."""
    made = box(module)
    one = made(1, "x")
    one.a = 3
    assert one == made(3, "x")
    with pytest.raises(TypeError):
        hash(one)
    frozen = box(module, frozen=True)
    assert hash(frozen(1, c=())) == hash(frozen(1, c=()))
