"""Field types of the contract: what an id, a time or an amount may be, said once.

`Meta(extra={"role": ...})` marks what a field is for: `id` fields may arrive as JSON integers from foreign sources,
`time` fields in other units (see topics.dialect).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

__all__ = ["Action", "Amount", "Id", "Label", "Price", "Probability", "Severity", "Side", "SourceRef", "Status", "Time"]

#: Longest id in characters: room for any UUID, URL path or hash, and a bound on what a key can cost in state.
MAX_ID = 256

#: Event times end here (year 5138): a time in milliseconds sent as seconds is far beyond and is refused.
MAX_TIME = 1e11

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID, description="A UTF-8 id.", extra={"role": "id"})]
Time = Annotated[float, Meta(ge=0, lt=MAX_TIME, description="Seconds since the epoch, UTC.", extra={"role": "time"})]
Amount = Annotated[float, Meta(ge=0, description="A quantity or an amount of money, zero or more.")]
Price = Annotated[float, Meta(gt=0, description="A market price, above zero.")]
Probability = Annotated[float, Meta(ge=0, le=1, description="A probability.")]
Label = Annotated[str, Meta(min_length=1, max_length=64, description="A short name, such as a model's.")]
SourceRef = Annotated[
    str,
    Meta(
        pattern=r"^[a-zA-Z0-9._-]+:[0-9]+:[0-9]+$",
        description="`topic:partition:offset` of the event that caused the decision.",
    ),
]

Action = Literal["view", "click", "cart", "favorite"]
Side = Literal["buy", "sell"]
Severity = Literal["info", "warning", "critical"]
Status = Literal["firing", "resolved"]
