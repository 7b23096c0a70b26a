"""The dead letters on the page: by reason, each beside what the contract says, and back to where they came from."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from msgspec import Struct

from stream_app.contract import dialect_of
from stream_app.dead_letters import MAX_ATTEMPTS, Filter, Letter, explanation, letters_of, requeue, summary
from stream_app.web.context import WebContext
from stream_app.web.live.past import tail
from stream_app.web.problems import Problem

__all__ = ["Letters", "Requeue"]

#: The latest letters of each partition; all of a topic may be millions, and the page is for people.
PER_PARTITION = 2_000
#: Letters shown at once, and bytes of each record.
SHOWN, SHOWN_BYTES = 50, 4_000
#: Letters a second: a requeue must not be a flood.
RATE = 200.0
#: Letters of one requeue; the command takes any number.
MAX_REQUEUE = 1_000
#: What was read is shown again for so long, unless this worker has set more aside since.
AGE_S = 2.0

#: When letters were read, how many were set aside then, and the letters: none yet.
_NOT_READ: Final[tuple[float, float, list[Letter]]] = (float("-inf"), 0.0, [])


class Requeue(Struct, forbid_unknown_fields=True):
    """Which letters go back; the empty fields mean any, but one must be given. dry_run: only say how many."""

    reason: str = ""
    stage: str = ""
    topic: str = ""
    message: str = ""
    position: str = ""
    dry_run: bool = True


class Letters:
    """Reads and answers one request at a time."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self._read: tuple[float, float, list[Letter]] = _NOT_READ

    async def show(self, wanted: Filter) -> dict[str, Any]:
        """Groups of all letters that were read, and the latest of those wanted."""
        async with self._lock:
            letters = await self._letters()
        chosen = [letter for letter in letters if wanted.matches(letter)]
        return {
            "groups": summary(letters), "read": len(letters), "most": PER_PARTITION, "matching": len(chosen),
            "letters": [self._shown(letter) for letter in reversed(chosen[-SHOWN:])],
        }  # fmt: skip

    async def send_back(self, asked: Requeue) -> dict[str, Any]:
        """Send letters back to their topics, or say how many would go where."""
        wanted = Filter(asked.reason, asked.stage, asked.topic, asked.message, asked.position)
        if wanted == Filter():
            raise Problem(400, "say which letters: give reason, stage, topic, message or position")
        async with self._lock:
            self._read = _NOT_READ  # what was marked meanwhile counts
            found = [letter for letter in await self._letters() if wanted.matches(letter)]
            open_ones = [letter for letter in found if not letter.requeued]
            chosen = [letter for letter in open_ones if letter.attempts < MAX_ATTEMPTS][:MAX_REQUEUE]
            answer: dict[str, Any] = {
                "matching": len(found), "already": len(found) - len(open_ones),
                "exhausted": sum(letter.attempts >= MAX_ATTEMPTS for letter in open_ones),
            }  # fmt: skip
            if asked.dry_run:
                homes: dict[str, int] = {}
                for letter in chosen:
                    home = letter.origin.topic if letter.origin else ""
                    homes[home] = homes.get(home, 0) + 1
                still_bad = sum(1 for letter in chosen if self._complaint(letter))
                return answer | {"dry_run": True, "would_send": homes, "still_refused": still_bad}
            # Shielded: a browser that goes away must not leave letters sent and not marked.
            done = await asyncio.shield(
                asyncio.ensure_future(requeue(self._context.processor.cluster, self._topic, chosen, rate=RATE))
            )
            self._read = _NOT_READ
            return answer | {"dry_run": False, "sent": done.sent, "homeless": done.homeless}

    @property
    def _topic(self) -> str:
        return self._context.catalog["dead-letters"].kafka_name

    async def _letters(self) -> list[Letter]:
        read_at, known, letters = self._read
        set_aside = self._set_aside()
        if time.monotonic() - read_at < AGE_S and known == set_aside:
            return letters
        letters = letters_of(await tail(self._context.processor.cluster, self._topic, PER_PARTITION))
        self._read = (time.monotonic(), set_aside, letters)
        return letters

    def _set_aside(self) -> float:
        """Letters of this worker since it began."""
        (family,) = self._context.metrics.dead_letters.collect()
        return sum(sample.value for sample in family.samples if sample.name.endswith("_total"))

    def _complaint(self, letter: Letter) -> str:
        catalog = self._context.catalog
        source = catalog.by_kafka_name(letter.origin.topic) if letter.origin else None
        return explanation(letter, catalog, dialect_of(self._context.settings, source) if source else None)

    def _shown(self, letter: Letter) -> dict[str, Any]:
        origin = letter.origin
        return {
            "position": letter.position,
            "ts": letter.timestamp_ms / 1000,
            "key": _text(letter.key),
            "value": _text(letter.value),
            "reason": origin.reason if origin else "unknown",
            "message": origin.message if origin else "no headers of ours",
            "stage": origin.stage if origin else "",
            "source": f"{origin.topic}:{origin.partition}:{origin.offset}" if origin else "",
            "topic": origin.topic if origin else "",
            "today": self._complaint(letter),
            "requeued": letter.requeued,
        }


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    shown = data[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return shown + ("" if len(data) <= SHOWN_BYTES else f" … {len(data):,} bytes")
