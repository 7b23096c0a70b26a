"""What is kept of what was published: the last forecast of each symbol. And who else wants to see what is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from topics.spans import Spans

__all__ = ["Fan", "LastForecasts"]


class _Subject(Struct):
    subject: str


class LastForecasts:
    """The last record of each symbol as it was sent, some 400 bytes each; written by the stream, read anywhere."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._decode = msgspec.json.Decoder(_Subject).decode

    def offer(self, values: Spans) -> None:
        """Take a batch of `forecasts`."""
        for value in values.tolist():
            if value is not None:
                self._values[self._decode(value).subject] = value

    def get(self, subject: str) -> bytes | None:
        """The last forecast of a symbol, JSON; None if none was made since the worker began."""
        return self._values.get(subject)


class Fan:
    """Stands at the outbox's tap: each batch of a topic goes to who keeps that topic, and to a `tap` of others."""

    def __init__(self, outbox: Any, keepers: dict[str, Callable[[Spans], None]]) -> None:
        self.tap: Callable[[str, Spans], None] | None = None
        self._keepers = keepers
        offer: Callable[[str, Spans], None] = self.offer
        outbox.tap = offer

    def offer(self, topic: str, values: Spans) -> None:
        """Called for every batch that is queued."""
        keeper = self._keepers.get(topic)
        if keeper is not None:
            keeper(values)
        if self.tap is not None:
            self.tap(topic, values)
