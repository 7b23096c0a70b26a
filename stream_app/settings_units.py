"""Numbers that settings hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

__all__ = ["Positive", "Seconds"]

#: Not negative.
Seconds = Annotated[float, Field(ge=0)]
#: Above zero.
Positive = Annotated[float, Field(gt=0)]
