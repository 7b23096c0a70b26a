"""The last line that `tsrec evaluate` prints: one JSON object, which every JSON reader takes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

__all__ = ["last_line"]


def last_line(figures: Mapping[str, object], digits: int = 4) -> str:
    """`figures` as JSON; floats to so many digits behind the point, null for what is not a number."""
    return json.dumps({name: _rounded(value, digits) for name, value in figures.items()})


def _rounded(value: object, digits: int) -> object:
    if isinstance(value, float):
        return round(value, digits) if math.isfinite(value) else None
    if isinstance(value, list):
        return [_rounded(one, digits) for one in value]
    return value
