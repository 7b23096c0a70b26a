"""Lists for whoever asks, by the path that events take: same models, ladder, filters and gate, in the inference thread.

Nothing is learnt from a question and no state is changed. Questions that come together are answered in one call, so
that a burst of them takes little of the thread that the stream waits for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.profiles import RING
from stream_app.agents.recommendations import Recommender
from stream_app.blending import TRENDING, Blended
from stream_app.errors import TsrecError
from stream_app.inference import Merged
from stream_app.list_making import ListMaker, Made, Rows
from stream_app.models import LiveModel, of_one_model
from stream_app.state.shard import Shard
from topics.spans import Spans
from tsrec_models.sequence.rules import EMPTY

__all__ = ["MAX_K", "Asked", "OnDemand", "TooManyQuestions"]

#: Longest list that can be asked for.
MAX_K = 100

#: Questions answered in one call: a few milliseconds of the inference thread.
_TOGETHER = 32

#: Seconds for which it is kept which items are for sale.
_SHOWN_S = 0.5

#: Questions that may wait; more would wait longer than anybody does.
_WAITING = 256


class TooManyQuestions(TsrecError):
    """So many questions wait for the inference thread that one more would only wait."""


@dataclass(slots=True)
class Asked:
    """One list: indices and scores, best first; the past item each follows from, EMPTY for none.

    recent: past items, latest first. model, rules: what each source adds to an item's score, [items] and
    [items, recent]; their sum is the score, except of items that came of the trending rung.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float64]
    sources: NDArray[np.int8]
    causes: NDArray[np.int64]
    rung: str
    version: str
    ts: float
    recent: NDArray[np.int64]
    model: NDArray[np.float64]
    rules: NDArray[np.float64]
    note: str | None = None


@dataclass(slots=True)
class _Question:
    """Copies of what is known of the one who asks."""

    k: int
    ts: float
    recent: NDArray[np.int64]
    seen: NDArray[np.int64]
    live: LiveModel | None
    allowed: NDArray[np.bool_]
    category: NDArray[np.int32]
    asked_s: float = field(default_factory=time.time)
    state: NDArray[np.float32] | None = None
    history: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    times: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    note: str | None = None

    def __len__(self) -> int:
        return 1


class OnDemand:
    """Asks for a recommender. Its coroutines run in the stream's loop."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        settings = recommender.settings
        self._making = {
            k: ListMaker(recommender.trends, recommender.items, settings.model_copy(update={"k": k}))
            for k in (settings.k, MAX_K)
        }
        self._merged: Merged[_Question, Asked] = Merged(recommender.inference, self._answer, _TOGETHER)
        self._waiting = 0
        self._mask = (np.empty(0, np.bool_), np.empty(0, np.int32))
        self._shown_until = -np.inf

    async def of_user(self, shard: Shard, row: int, user: bytes, k: int) -> Asked:
        """What would be recommended to the user at `row` now. Event time is that of the latest event of all.

        Raises:
            TooManyQuestions: ask again later.
        """
        recommender = self._recommender
        partition = recommender.trends.partition(shard.partition)
        rows = np.array([row], np.int64)
        entries, lengths = RING.last(shard, rows)
        items = partition.to_indices(entries["item"].astype(np.int64))[0, : int(lengths[0])]
        window = recommender.trends.rules.settings.window
        question = _Question(
            k, max(recommender.trends.rules.latest, float(shard.column("_ts")[row])), _padded(items, window),
            items if recommender.settings.exclude_seen else items[:0], recommender.model, *self._shown(),
        )  # fmt: skip
        live = recommender.model
        if live is not None:
            if shard.column("model")[row] == live.code:
                question.state = shard.column("hidden")[rows, : live.state_width].astype(np.float32)
            question.history = items[::-1].copy()
            question.times = entries["ts"][0, : int(lengths[0])][::-1].astype(np.float64)
        why = recommender.gate.withheld(user.decode("utf-8", "replace"))
        question.note = None if why is None else f"withheld: {why}"
        return await self._ask(question)

    async def after_item(self, item: int, k: int) -> Asked:
        """What is taken after the item of this index alone, by those who took nothing else."""
        recommender = self._recommender
        items = np.array([item], np.int64)
        ts = recommender.trends.rules.latest
        window = recommender.trends.rules.settings.window
        question = _Question(k, ts, _padded(items, window), items, recommender.model, *self._shown())
        question.history, question.times = items, np.array([ts])
        return await self._ask(question)

    async def trending(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Indices and scores of what most take now, best first, also what may not be shown."""
        return await self._recommender.inference.run(self._making[MAX_K].trending)

    def may_be_shown(self, item: int) -> bool:
        """Whether the item of this index is for sale now, by event time."""
        allowed = self._shown()[0]
        return item < len(allowed) and bool(allowed[item])

    def shown_lately(self) -> NDArray[np.bool_] | None:
        """Which items were for sale within the last second, for other threads; None where the stream's loop has not
        been asked for so long."""
        mask, until = self._mask[0], self._shown_until
        return mask if time.monotonic() < until + 1.0 - _SHOWN_S else None

    def shown_is_old(self) -> bool:
        """Whether `look` is due: `shown_lately` will soon say nothing. Any thread may ask."""
        return time.monotonic() >= self._shown_until

    def look(self) -> None:
        """See which items are for sale now."""
        self._shown()

    def _shown(self) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """Which items may be shown, and the category of each; a pass over all items, so kept for a moment."""
        now, items = time.monotonic(), self._recommender.items
        if now >= self._shown_until or len(items) != len(self._mask[0]):
            self._mask = (items.available(self._recommender.trends.rules.latest), items.category_codes())
            self._shown_until = now + _SHOWN_S
        return self._mask

    async def _ask(self, question: _Question) -> Asked:
        if self._waiting >= _WAITING:
            raise TooManyQuestions(f"{self._waiting} questions wait for the models already; ask again in a second")
        self._waiting += 1
        try:
            return await self._merged.ask(question)
        finally:
            self._waiting -= 1

    # -- in the inference thread

    def _answer(self, questions: Sequence[_Question]) -> list[Asked | Exception]:
        answers: list[Asked | Exception] = []
        for question_group in of_one_model(questions):
            try:
                answers += self._together(question_group)
            except Exception as error:  # noqa: BLE001 - raised where it was asked
                answers += [error] * len(question_group)
        return answers

    def _together(self, questions: Sequence[_Question]) -> list[Asked]:
        recommender, live = self._recommender, questions[0].live
        n = len(questions)
        settings_k = recommender.settings.k
        making = self._making[settings_k if max(question.k for question in questions) <= settings_k else MAX_K]
        ladder = recommender.ladder
        rungs = [rung for rung in ladder.rungs if rung != "neural" or live is not None]
        rung = ladder.choose(n, min(question.asked_s for question in questions), rungs)
        newest = questions[-1]
        rows = Rows(
            recent=np.stack([question.recent for question in questions]),
            seen=np.stack([_padded(question.seen, RING.n) for question in questions]),
            ts=np.array([question.ts for question in questions]),
            allowed=newest.allowed[None],
            group=np.zeros(n, np.int64),
            category=newest.category,
        )
        model = live if rung == "neural" else None
        made = making.make(rung, model, None if model is None else _states(model, questions), rows)
        rules = self._rule_parts(0.0 if model is None else model.neural_weight, made, rows)
        version = "rules" if model is None else model.version
        return [
            _asked(question, made.lists, made.causes[i], rules[i], rung, version, i)
            for i, question in enumerate(questions)
        ]

    def _rule_parts(self, neural_weight: float, made: Made, rows: Rows) -> NDArray[np.float64]:
        """What each past item adds to each item's score by rules, [n, k, recent]: as `blend` weighs it."""
        candidates, lists, _ = made
        parts = np.zeros((*lists.items.shape, rows.recent.shape[1]))
        if candidates.rules is None:
            return parts
        ids, scores = candidates.rules
        total = np.where((ids >= 0) & (scores > 0), scores, 0.0).sum(axis=1)
        weighed = np.where(scores > 0, ids, EMPTY)
        named = (lists.items[:, :, None] == weighed[:, None, :]).any(axis=2) & (lists.items >= 0)
        named &= lists.sources != TRENDING
        share = np.where(total > 0, (1.0 - neural_weight) / np.where(total > 0, total, 1.0), 0.0)
        rules = self._recommender.trends.rules
        raw = rules.contributions(rows.recent, np.maximum(lists.items, 0), now=rows.ts)
        return np.where(named[:, :, None], raw * share[:, None, None], parts)


def _asked(
    question: _Question,
    lists: Blended,
    causes: NDArray[np.int64],
    rules: NDArray[np.float64],
    rung: str,
    version: str,
    i: int,
) -> Asked:
    kept = np.flatnonzero(lists.items[i] >= 0)[: question.k]
    if question.note is not None:
        kept = kept[:0]
    scores, sources = lists.scores[i, kept].astype(np.float64), lists.sources[i, kept]
    cold = not len(kept) or bool((sources == TRENDING).all())
    model = np.where(sources == TRENDING, 0.0, scores - rules[kept].sum(axis=1))
    if version == "rules":
        model = np.zeros(len(kept))
    return Asked(
        lists.items[i, kept], scores, sources, causes[kept], "trending" if cold else rung,
        "trending" if cold else version, question.ts, question.recent, model, rules[kept], question.note,
    )  # fmt: skip


def _states(live: LiveModel, questions: Sequence[_Question]) -> NDArray[np.float32]:
    """Hidden states [n, width]; of who has none of this model, encoded from the history."""
    stale = [question for question in questions if question.state is None]
    encoded = iter(live.encode([q.history for q in stale], [q.times for q in stale]) if stale else ())
    return np.stack([next(encoded) if q.state is None else q.state[0] for q in questions])


def _padded(items: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    out = np.full(width, EMPTY, np.int64)
    out[: min(width, len(items))] = items[:width]
    return out


def locate(shards: Sequence[Shard], key: bytes) -> tuple[Shard, int] | None:
    """The shard among `shards` that holds `key`, and its row there."""
    spans = Spans.of([key])
    for shard in shards:
        row = int(shard.find(spans)[0])
        if row >= 0:
            return shard, row
    return None
