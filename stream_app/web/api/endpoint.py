"""One declaration a route: from it come the checks of what is sent, the answer's encoding, and the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from stream_app.web.problems import Problem
from topics.dialect import literal_texts
from topics.fields import MAX_ID

__all__ = ["Answer", "Call", "Endpoint"]


#: A part of a path that is an id: of any characters, braces too, which the server's own pattern leaves out.
_PART = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that fits its declaration. path: parts of the address by name; query, body: structs, or None."""

    request: web.Request
    path: dict[str, str]
    query: Any
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not simply 200 and a struct; `raw` is sent as it is."""

    value: Any = None
    status: int = 200
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    """A route of the API. The docstring of `handler` is its description; `answer` the struct that it gives."""

    method: str
    path: str
    summary: str
    tag: str
    handler: Callable[[Call], Awaitable[Any]]
    answer: Any
    query: type[Any] | None = None
    body: type[Any] | None = None
    status: int = 200
    problems: tuple[int, ...] = ()

    def route(self) -> web.RouteDef:
        """For the server."""
        add = {"GET": web.get, "POST": web.post}[self.method]
        return add(_PART.sub(r"{\1:[^/]+}", self.path), self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        path = {name: _id(name, value) for name, value in request.match_info.items()}
        query = self._query(request)
        body = await self._body(request)
        answer = await self.handler(Call(request, path, query, body))
        if not isinstance(answer, Answer):
            answer = Answer(answer, self.status)
        data = answer.raw if answer.raw is not None else msgspec.json.encode(answer.value)
        return web.Response(
            status=answer.status, body=data, headers={"Content-Type": "application/json", **answer.headers}
        )

    def _query(self, request: web.Request) -> Any:
        given = request.query
        known = {f.encode_name: f for f in msgspec.structs.fields(self.query)} if self.query is not None else {}
        for name in given:
            if name not in known:
                there = f"there are {', '.join(known)}" if known else "there are none here"
                raise Problem(400, f"unknown query parameter; {there}", errors=[(_shown(name), "not known")])
            if len(given.getall(name)) > 1:
                raise Problem(400, "a query parameter was given twice", errors=[(name, "given twice")])
        if self.query is None:
            return None
        for name, value in given.items():
            _text(name, value)
        try:
            return msgspec.convert(dict(given), self.query, strict=False)
        except msgspec.ValidationError as error:
            raise _invalid("query", error, self.query) from None

    async def _body(self, request: web.Request) -> Any:
        if self.body is None:
            return None
        data = await request.read()
        try:
            return msgspec.json.decode(data or b"{}", type=self.body)
        except msgspec.ValidationError as error:
            raise _invalid("body", error, self.body) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Problem(400, "the body is not JSON; /openapi.json says what it should be") from None


def _invalid(where: str, error: msgspec.ValidationError, type_: type[Any]) -> Problem:
    reason, _, place = str(error).partition(" - at `$")
    name = place.rstrip("`").lstrip(".") or where
    words = {field.encode_name: literal_texts(field.type) for field in msgspec.structs.fields(type_)}.get(name)
    if words:
        reason += f": it is one of {', '.join(words)}"
    return Problem(400, f"the {where} does not fit; /openapi.json says what it should be", errors=[(name, reason)])


def _id(name: str, value: str) -> str:
    _text(name, value)
    if not 1 <= len(value) <= MAX_ID:
        raise Problem(400, f"ids have 1 to {MAX_ID} characters", errors=[(name, f"{len(value)} characters")])
    return value


def _text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Problem(400, "the address is not UTF-8", errors=[(name, "not UTF-8")]) from None


def _shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:64]
