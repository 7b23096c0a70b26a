"""Requests that the OpenAPI document describes, and ones that break it, drawn by schemathesis and sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

__all__ = ["fuzz"]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

#: Shares of requests that fit the document and that do not.
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def fuzz(
    url: str,
    document: dict[str, Any],
    requests_wanted: int,
    *,
    path_values: dict[str, list[str]],
    token: str | None = None,
    seen: Callable[[int, float], None] = lambda status, took_s: None,
) -> Counter[int]:
    """Send at least `requests_wanted` requests, spread over all operations and both modes; how many had which status.

    path_values: by parameter, ids that exist, which half of the requests name. seen: told each status, and how long its
    answer took.

    Raises:
        schemathesis' failures: an answer that the document does not allow, or a 5xx.
    """
    schema = schemathesis.openapi.from_dict(document)
    found: Any = schema.get_all_operations()
    operations = [result.ok() for result in found]
    # The others take nothing: there is one request to send, and nothing wrong.
    drawn = sum(bool(one.path_parameters or one.query or one.body) for one in operations)
    each = max(1, requests_wanted // (drawn * len(MODES)))
    statuses: Counter[int] = Counter()
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    seed = 11
    with requests.Session() as session:
        while statuses.total() < requests_wanted:  # what cannot be drawn so often is made up for by the rest
            for operation in operations:
                for mode in MODES:
                    _run(operation.as_strategy(mode), seed, each, url, session, headers, path_values, statuses, seen)
            seed, each = seed + 1, max(1, (requests_wanted - statuses.total()) // (drawn * len(MODES)))
    return statuses


def _run(
    strategy: Any,
    seed: int,
    each: int,
    url: str,
    session: requests.Session,
    headers: dict[str, str],
    path_values: dict[str, list[str]],
    statuses: Counter[int],
    seen: Callable[[int, float], None],
) -> None:
    count = 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=each, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=strategy)
    def send(case: Any) -> None:
        nonlocal count
        count += 1
        for name, values in path_values.items():
            if count % 2 and name in (case.path_parameters or {}):
                case.path_parameters[name] = values[count % len(values)]
        response = case.call(base_url=url, session=session, headers=headers, timeout=20)
        statuses[response.status_code] += 1
        seen(response.status_code, response.elapsed)
        case.validate_response(response, checks=CHECKS)

    with suppress(hypothesis.errors.Unsatisfiable):  # an operation that takes nothing has nothing wrong to send
        send()
