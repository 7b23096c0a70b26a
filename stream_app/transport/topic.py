"""Topics whose records arrive as `RecordBatch` objects, undecoded."""

from __future__ import annotations

from typing import Any

from faust.serializers.schemas import Schema

__all__ = ["BatchSchema"]


class BatchSchema(Schema):  # type: ignore[misc]
    """Passes record batches through as they are: whoever takes them decodes whole columns."""

    def compile(self, app: Any, **_: Any) -> Any:
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, message.headers, message)

        return decode
