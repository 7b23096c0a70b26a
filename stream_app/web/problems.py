"""Errors as RFC 9457 wants them: application/problem+json, with a detail that says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

__all__ = ["PROBLEM_JSON", "FieldError", "Problem", "ProblemDetails", "problem_response"]

PROBLEM_JSON = "application/problem+json"

#: What each status is called in `type`, and its title.
_KINDS = {
    400: ("bad-request", "The request cannot be understood"),
    401: ("unauthorized", "A token is needed"),
    403: ("forbidden", "Not allowed"),
    404: ("not-found", "There is no such thing here"),
    405: ("method-not-allowed", "This cannot be done with it"),
    408: ("request-timeout", "The request came too slowly"),
    409: ("conflict", "Not possible in this state"),
    411: ("length-required", "The body has no length"),
    413: ("too-large", "The body is too large"),
    414: ("address-too-long", "The address is too long"),
    415: ("unsupported-media-type", "The body is not JSON"),
    429: ("too-many-requests", "Too many requests"),
    431: ("headers-too-large", "The header is too large"),
    500: ("internal-error", "The worker made a mistake"),
    502: ("bad-gateway", "Another worker did not answer"),
    503: ("unavailable", "Not now"),
}


class FieldError(Struct, frozen=True):
    """What is wrong with one part of a request."""

    name: str
    reason: str


class ProblemDetails(Struct, frozen=True, omit_defaults=True):
    """RFC 9457: `type` names the kind of problem, `detail` says what happened and what to do."""

    type: Annotated[str, Meta(description="urn:tsrec:problem:… ; stable, for programs.")]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="Path of the request.")] | None = None
    errors: list[FieldError] | None = None


class Problem(Exception):
    """Raised by a route: answered with `status` and the details. headers: such as Retry-After."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = [FieldError(name, reason) for name, reason in errors]
        self.headers = dict(headers or {})


def problem_response(problem: Problem, path: str | None) -> web.Response:
    """The answer for a problem with the request for `path`."""
    kind, title = _KINDS.get(problem.status, ("error", HTTPStatus(problem.status).phrase))
    details = ProblemDetails(
        f"urn:tsrec:problem:{kind}", title, problem.status, problem.detail, path, problem.errors or None
    )
    headers: dict[str, Any] = {"Content-Type": PROBLEM_JSON, **problem.headers}
    return web.Response(status=problem.status, body=msgspec.json.encode(details), headers=headers)
