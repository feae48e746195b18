"""The table of routes as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from nexapod_batch import __version__
from nexapod_batch.server.calls import Access
from nexapod_batch.server.problems import BASE, KINDS, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.server.calls import Route

__all__ = ["document"]

_REFERENCE = "#/components/schemas/{name}"
_PART = re.compile(r"\{([a-z0-9_]+)(?::path)?\}")
_NUMBERS = frozenset({"job", "task", "token"})
#: Problems that any route may answer with.
_ANYWHERE = frozenset({400, 408, 413, 415, 421, 429, 500, 503})


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the whole document."""
    structs = [kind for route in routes for kind in (route.takes, route.answers) if _is_schema(kind)]
    schemas, components = msgspec.json.schema_components([*structs, Problem], ref_template=_REFERENCE)
    by_kind = dict(zip([*map(repr, structs), repr(Problem)], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        plain = _PART.sub(r"{\1}", route.path)
        paths.setdefault(plain, {})[route.method.lower()] = _operation(route, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nexapod-batch", "version": __version__,
            "description": "Jobs, run independently at least twice, compared, signed; and the nodes that run them.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "nxp_SECRET.PIN"},
                "signature": {"type": "apiKey", "in": "header", "name": "Signature", "description": "RFC 9421"},
            },
        },
    }  # fmt: skip


def _is_schema(kind: object) -> bool:
    return kind is not None and kind not in (bytes, memoryview) and not isinstance(kind, str)


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": [*_parts(route), *_query(route)],
        "responses": _responses(route, schemas),
    }
    if route.access is Access.PUBLIC:
        made["security"] = [{}, {"token": []}]
    elif route.access in {Access.NODE, Access.KEY}:
        made["security"] = [{"signature": []}]
    elif route.access is not Access.ANYBODY:
        made["security"] = [{"token": []}]
    if route.takes is not None:
        schema: dict[str, Any] = schemas[repr(route.takes)] if _is_schema(route.takes) else {}
        made["requestBody"] = {"required": True, "content": {media: {"schema": schema} for media in route.media}}
    return made


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", _PART.sub(r"by_\1", route.path)).strip("_")
    return f"{route.method.lower()}_{words}"


def _parts(route: Route) -> list[dict[str, Any]]:
    found = []
    for name in _PART.findall(route.path):
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if name in _NUMBERS:
            schema = {"type": "string", "pattern": "^[A-Za-z0-9._+=@:-]+$"}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _query(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "in": "query", "required": False, "description": one.text, "schema": _plain(one.kind)}
        for one in route.query
    ]


def _plain(kind: type[Any]) -> dict[str, Any]:
    if kind is int:
        return {"type": "integer", "minimum": 0}
    if kind is float:
        return {"type": "number", "minimum": 0}
    return {"type": "string"}


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if isinstance(route.answers, str):
        content = {route.answers: {}}
    elif route.answers is not None:
        content = {"application/json": {"schema": schemas[repr(route.answers)]}}
    found: dict[str, Any] = {str(route.status): {"description": "done", **({"content": content} if content else {})}}
    problem = {"application/problem+json": {"schema": schemas[repr(Problem)]}}
    for kind in KINDS:
        if kind.status in _ANYWHERE or kind.status in _own_problems(route):
            text = f"{kind.title}: {BASE}{kind.slug}"
            found[str(kind.status)] = {"description": text, "content": problem}
    return found


def _own_problems(route: Route) -> set[int]:
    found = {404} if "{" in route.path or route.may_lack else set[int]()
    if route.access is not Access.ANYBODY:
        found |= {401, 403}
    if route.method != "GET":
        found |= {401, 403, 404, 409, 422, 502}
    return found
