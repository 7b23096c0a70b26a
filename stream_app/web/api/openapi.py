"""The OpenAPI 3.1 document, from the declarations of the routes and the types they give."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from inspect import cleandoc, getdoc
from typing import Any

import msgspec

from stream_app.web.api.endpoint import Endpoint
from stream_app.web.problems import PROBLEM_JSON, ProblemDetails
from topics.fields import Id

__all__ = ["document"]

#: What any request may be answered with, beside what its route says.
_ALWAYS = (400, 401, 403, 408, 413, 429, 431, 500, 503)

_TITLES = {
    400: "Something in the request does not fit.",
    401: "The token is missing or wrong.",
    403: "Not for this client.",
    404: "There is no such thing.",
    408: "The request came too slowly.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many requests; Retry-After says when.",
    431: "The header is too large.",
    500: "A mistake of the worker.",
    502: "Another worker holds this and did not answer.",
    503: "Not now: the worker recovers, or is busy. Retry-After says when.",
}

_REF = "#/components/schemas/{name}"


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document as plain values."""
    types: list[Any] = [ProblemDetails, Id]
    for endpoint in endpoints:
        types += [part for part in (endpoint.answer, endpoint.query, endpoint.body) if part is not None]
    found, components = msgspec.json.schema_components(types, ref_template=_REF)
    schemas = dict(zip(map(_key, types), found, strict=True))
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas, components)
    for query in {endpoint.query for endpoint in endpoints} - {None}:
        del components[_key(query)]  # shown as parameters
    paths["/healthz"] = _probe("health", "Whether the worker works", "works", "stands still")
    paths["/readyz"] = _probe(
        "ready", "Whether the worker has recovered its state and read the catalog", "does", "not yet"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tsrec",
            "version": metadata.version("tsrec"),
            "description": "What one worker, or its group, recommends, forecasts and warns of, now.",
            "license": {"name": "See LICENSE"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _probe(name: str, summary: str, good: str, bad: str) -> dict[str, Any]:
    """A supervisor's question: it is answered without a token."""
    schema = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
    content = {"application/json": {"schema": schema}}
    problem = {"content": {PROBLEM_JSON: {"schema": {"$ref": _REF.format(name=ProblemDetails.__name__)}}}}
    answers = {"200": {"description": f"It {good}.", "content": content}} | {
        str(status): {"description": _TITLES[status], **problem} for status in _ALWAYS if status != 503
    }
    answers["503"] = {"description": f"It {bad}.", "content": content | problem["content"]}
    return {
        "get": {
            "operationId": f"get-{name}",
            "summary": summary,
            "tags": ["probes"],
            "security": [{}],
            "responses": answers,
        }
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    problem = {"content": {PROBLEM_JSON: {"schema": schemas[_key(ProblemDetails)]}}}
    answers: dict[str, Any] = {
        str(endpoint.status): {
            "description": "The answer.",
            "content": {"application/json": {"schema": schemas[_key(endpoint.answer)]}},
        }
    }
    statuses = {*_ALWAYS, *endpoint.problems, *((415,) if endpoint.method == "POST" else ())}
    for status in sorted(statuses):
        answers[str(status)] = {"description": _TITLES[status], **problem}
    name = endpoint.path.strip("/").replace("/", "-").replace("{", "").replace("}", "").replace(".", "-")
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}-{name}",
        "summary": endpoint.summary,
        "description": cleandoc(getdoc(endpoint.handler) or endpoint.summary),
        "tags": [endpoint.tag],
        "parameters": _parameters(endpoint, schemas, components),
        "responses": answers,
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": False,
            "content": {"application/json": {"schema": schemas[_key(endpoint.body)]}},
        }
    return operation


def _parameters(endpoint: Endpoint, schemas: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": schemas[_key(Id)]}
        for part in endpoint.path.split("/")
        if part.startswith("{")
    ]
    if endpoint.query is not None:
        schema = components[_key(endpoint.query)]
        for name, field in schema.get("properties", {}).items():
            field = dict(field)
            parameter = {"name": name, "in": "query", "required": name in schema.get("required", ())}
            if "description" in field:
                parameter["description"] = field.pop("description")
            found.append(parameter | {"schema": _without_null(field)})
    return found


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is left out is not sent as null: its schema says what may be sent."""
    options = [option for option in field.get("anyOf", []) if option != {"type": "null"}]
    rest = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    if len(options) == 1:
        rest |= options[0]
    elif options:
        rest["anyOf"] = options
    if field.get("default") is not None:
        rest["default"] = field["default"]
    return rest


def _key(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))
