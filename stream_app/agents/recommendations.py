"""Recommendations: each click or purchase updates the user's profile and is answered with the items to show next."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_app.agents.profiles import ACTIONS, CLICK, PURCHASE, RING, remember
from stream_app.agents.trends import ItemTrends, PartitionTrends
from stream_app.batch import Batch, BatchTopic
from stream_app.blending import RULES, Blended, blend
from stream_app.gate import Gate
from stream_app.inference import Inference, Ladder
from stream_app.items import ItemIndex
from stream_app.metrics import Metrics
from stream_app.models import LiveModel
from stream_app.rehearsal import NOWHERE
from stream_app.settings import Settings
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from topics.decisions import Recommendation, RecommendedItem, decision_ids
from topics.encode import encode_columns, encode_lists
from topics.spans import Spans
from tsrec_models.sequence.rules import EMPTY

__all__ = ["Recommender"]

#: Candidates from each source: enough that filters leave a full list, few enough to mix quickly.
CANDIDATES = 40

#: Trending items kept at hand for cold users and short lists. Finding them takes a pass over all items: of more than
#: so many, they are kept for a second.
TRENDING, MANY_ITEMS, TRENDING_MAX_AGE_S = 200, 20_000, 1.0


class Recommender:
    """The agent of `clicks` and `purchases`: profile -> rules and hidden state -> ladder -> `recommendations`."""

    def __init__(
        self,
        *,
        users: Table,
        trends: ItemTrends,
        items: ItemIndex,
        output: BatchTopic,
        inference: Inference,
        metrics: Metrics,
        settings: Settings,
        catalog_ready: asyncio.Event,
        gate: Gate,
        model: LiveModel | None = None,
    ) -> None:
        self.users = users
        self.trends = trends
        self.items = items
        self.output = output
        self.inference = inference
        self.metrics = metrics
        self.settings = settings
        self.ladder = Ladder(settings.ladder.rungs, settings.ladder.budget_ms / 1000.0, metrics)
        self.catalog_ready = catalog_ready
        self.gate = gate
        self.model = model
        self._answered = np.array([action in settings.trigger.actions for action in ACTIONS])
        self._trending: tuple[NDArray[np.int64], NDArray[np.float32]] = (np.empty(0, np.int64), np.empty(0, np.float32))
        self._trending_at = -np.inf

    async def __call__(self, batch: Batch) -> None:
        """Remember, step, recommend, and last learn: learning cannot be taken back."""
        if batch.partition != NOWHERE:
            await self.catalog_ready.wait()  # without it, what is no longer for sale would be recommended
        shard = self.users.shard(batch.partition)
        source = self.users.source(batch.topic.name)
        rows = shard.locate(batch.columns.user_id)
        fresh = shard.fresh(rows, source, batch.offsets)
        if not fresh.all():  # replayed after a crash: already in the state, already answered
            batch, rows = batch.only(fresh), rows[fresh]
            if not len(batch):
                return
        events = batch.columns
        kinds = self._kinds(batch)
        partition = self.trends.partition(batch.partition)
        numbers = partition.numbers(events.item_id)
        window = self.trends.rules.settings.window
        history = remember(shard, rows, numbers, events.ts, kinds, window)
        hidden = await self._step(shard, partition, rows, numbers, events.ts)
        shard.advance(rows, source, batch.offsets, events.ts)
        answered = self._triggers(shard, rows, events.ts, kinds)
        if len(answered):
            recent = np.concatenate([numbers[:, None], history.items[:, : window - 1]], axis=1)
            await self._recommend(batch, shard, partition, rows, recent, hidden, answered)
        await self.inference.run(self.trends.learn, partition, history.items, numbers, events.ts)

    def _kinds(self, batch: Batch) -> NDArray[np.int8]:
        """What each event was, as a code into ACTIONS."""
        if not hasattr(batch.columns, "action"):
            return np.full(len(batch), PURCHASE, np.int8)
        names = batch.columns.codes("action")
        table = np.array([ACTIONS.index(name) for name in names] + [CLICK], np.int8)
        kinds: NDArray[np.int8] = table[batch.columns.action]  # -1, no action, takes the last: a click
        return kinds

    def _triggers(
        self, shard: Shard, rows: NDArray[np.int64], ts: NDArray[np.float64], kinds: NDArray[np.int8]
    ) -> NDArray[np.int64]:
        """Which events are answered: those of the chosen kinds, one a user in `min_interval_s` of event time."""
        wanted = self._answered[kinds]
        interval_s = self.settings.trigger.min_interval_s
        if interval_s > 0:
            last = shard.column("recommended_ts")
            for i in np.flatnonzero(wanted).tolist():
                if ts[i] - last[rows[i]] < interval_s:
                    wanted[i] = False
                else:
                    last[rows[i]] = ts[i]
        return np.flatnonzero(wanted)

    # -- hidden state

    async def _step(
        self,
        shard: Shard,
        partition: PartitionTrends,
        rows: NDArray[np.int64],
        numbers: NDArray[np.int64],
        ts: NDArray[np.float64],
    ) -> NDArray[np.float32] | None:
        """The model's state after each event, [n, width]; users' rows are left with the state after their last."""
        live = self.model
        if live is None:
            return None
        width = live.state_width
        unique = np.unique(rows)
        stale = unique[shard.column("model")[unique] != live.code]
        items = live.to_model(partition.to_indices(numbers))
        started = shard.column("hidden")[:, :width]
        state = started[rows].astype(np.float32)
        if len(stale):
            # New users, and users last stepped by another model: encode what came before this batch.
            before, times = self._before(shard, partition, live, stale, rows)
            encoded = await self.inference.run(live.model.encode, before, times)
            state[:] = _replace(state, rows, stale, encoded)
        after = await self.inference.run(_step_in_order, live.model, state, rows, items, ts)
        last = len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1]
        shard.column("hidden")[rows[last], :width] = after[last]
        shard.column("model")[rows[last]] = live.code
        return after

    def _before(
        self,
        shard: Shard,
        partition: PartitionTrends,
        live: LiveModel,
        stale: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
        """Histories of `stale` rows, oldest first, without the events of this batch, which stand in the ring by now."""
        entries, lengths = RING.last(shard, stale)
        in_batch = np.bincount(np.searchsorted(stale, rows[np.isin(rows, stale)]), minlength=len(stale))
        items = live.to_model(partition.to_indices(entries["item"].astype(np.int64)))
        histories, times = [], []
        for i in range(len(stale)):
            take = slice(int(in_batch[i]), int(lengths[i]))
            histories.append(items[i, take][::-1].copy())
            times.append(entries["ts"][i, take][::-1].astype(np.float64))
        return histories, times

    # -- lists

    async def _recommend(
        self,
        batch: Batch,
        shard: Shard,
        partition: PartitionTrends,
        rows: NDArray[np.int64],
        recent: NDArray[np.int64],
        hidden: NDArray[np.float32] | None,
        answered: NDArray[np.int64],
    ) -> None:
        ts = batch.columns.ts[answered]
        rungs = [rung for rung in self.ladder.rungs if rung != "neural" or hidden is not None]
        rung = self.ladder.choose(len(answered), batch.records.received_s, rungs)
        began = time.monotonic()
        entries, _ = RING.last(shard, rows[answered])
        seen = partition.to_indices(entries["item"].astype(np.int64))
        recent_items = partition.to_indices(recent[answered])
        trending = self._trending_now()
        allowed = self.items.available(float(ts.max()))
        state = hidden[answered] if hidden is not None and rung == "neural" else None
        lists, reasons = await self.inference.run(
            self._lists, rung, state, recent_items, seen if self.settings.exclude_seen else seen[:, :0], ts, trending,
            allowed,
        )  # fmt: skip
        self.ladder.took(rung, len(answered), time.monotonic() - began)
        notes = self._withhold(batch, answered, lists)
        keys, values, used = self._encode(batch, answered, lists, reasons, rung, notes)
        batch.send(self.output, keys, values)
        self.metrics.decided("recommendation", used, time.time() - batch.records.received_s)

    def _withhold(self, batch: Batch, answered: NDArray[np.int64], lists: Blended) -> list[bytes | None]:
        """Empty the lists of users under a critical alert; for each answer why, or None."""
        notes: list[bytes | None] = [None] * len(answered)
        if not len(self.gate):
            return notes
        for i, user in enumerate(batch.columns.user_id.take(answered).tolist()):
            why = self.gate.withheld((user or b"").decode("utf-8", "replace"))
            if why is not None:
                notes[i] = f"withheld: {why}".encode()
                lists.items[i] = -1
        return notes

    def _lists(
        self,
        rung: str,
        state: NDArray[np.float32] | None,
        recent: NDArray[np.int64],
        seen: NDArray[np.int64],
        ts: NDArray[np.float64],
        trending: tuple[NDArray[np.int64], NDArray[np.float32]],
        allowed: NDArray[np.bool_],
    ) -> tuple[Blended, NDArray[np.int64]]:
        """In the inference thread: candidates, blended; and for each item of a list, the past item it follows from."""
        live = self.model
        neural = rules = None
        if state is not None and live is not None:
            ids, scores = live.model.topk(state, CANDIDATES, list(live.to_model(seen)))
            neural = (live.to_indices(ids), scores)
        if rung != "trending":
            rules = self.trends.rules.topk(recent, CANDIDATES, now=ts)
        lists = blend(
            neural, rules, trending, neural_weight=live.neural_weight if live is not None else 0.0, seen=seen,
            allowed=allowed, category=self.items.category_codes(), category_cap=self.settings.category_cap,
            k=self.settings.k,
        )  # fmt: skip
        causes = np.full(lists.items.shape, -1, np.int64)
        if rules is not None:
            parts = self.trends.rules.contributions(recent, np.maximum(lists.items, 0), now=ts)
            strongest = parts.argmax(axis=2)
            from_rules = (lists.items >= 0) & (parts.max(axis=2) > 0)
            causes = np.where(from_rules, np.take_along_axis(recent, strongest, axis=1), EMPTY)
        return lists, causes

    def _trending_now(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        now = time.monotonic()
        if self.trends.trending.n_items <= MANY_ITEMS or now - self._trending_at > TRENDING_MAX_AGE_S:
            self._trending_at = now
            self._trending = self.trends.trending.top(min(TRENDING, max(1, self.trends.trending.n_items)))
        return self._trending

    def _encode(
        self,
        batch: Batch,
        answered: NDArray[np.int64],
        lists: Blended,
        causes: NDArray[np.int64],
        rung: str,
        notes: list[bytes | None],
    ) -> tuple[Spans, Spans, dict[str, int]]:
        """Keys and values of the answers, and how many came of which rung."""
        users = batch.columns.user_id.take(answered)
        offsets = batch.offsets[answered].tolist()
        kept = lists.items >= 0
        items, why = lists.items[kept], causes[kept]
        labels = self.items.labels(np.maximum(why, 0))
        reasons = np.where(why >= 0, _FOLLOWS, lists.sources[kept])
        values = encode_columns(
            RecommendedItem,
            item_id=self.items.ids(items),
            score=np.round(lists.scores[kept].astype(np.float64), 6),
            reason=_joined(_REASONS.take(reasons), labels, why >= 0),
        )
        by_rung = np.where((kept & (lists.sources <= RULES)).any(axis=1), 0, 1)
        version = self.model.version if self.model is not None and rung == "neural" else "rules"
        source = f"{batch.records.topic}:{batch.partition}:".encode()
        answers = encode_columns(
            Recommendation,
            decision_id=Spans.of([i.encode() for i in decision_ids(batch.records.topic, batch.partition, offsets)]),
            user_id=users,
            items=encode_lists(values, kept.sum(axis=1)),
            model=Spans.of([version.encode(), b"trending"]).take(by_rung),
            rung=Spans.of([rung.encode(), b"trending"]).take(by_rung),
            event_ts=batch.columns.ts[answered],
            produced_ts=time.time(),
            source=Spans.of([source + b"%d" % offset for offset in offsets]),
            note=Spans.of(notes),
        )
        trending = int(by_rung.sum())
        return users, answers, {rung: len(answered) - trending, "trending": trending}


#: Why an item is in a list, by the source that brought most of its score; and the beginning of a rule's reason.
_FOLLOWS = 3
_REASONS = Spans.of([b"fits what you did lately", b"often taken next", b"many take it now", b"follows "])


def _joined(left: Spans, right: Spans, where: NDArray[np.bool_]) -> Spans:
    """`left` followed by `right` where asked for, `left` alone elsewhere."""
    width_left = left.end - left.start
    width = width_left + np.where(where, right.end - right.start, 0)
    end = np.cumsum(width)
    start = end - width
    data = np.empty(int(end[-1]) if len(end) else 0, np.uint8)
    _copy(data, start, left.data, left.start, left.end)
    _copy(data, start + width_left, right.data, right.start, np.where(where, right.end, right.start))
    return Spans(data, start, end)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _copy(out, at, data, start, end):  # type: ignore[no-untyped-def]
    for i in range(len(start)):
        for j in range(end[i] - start[i]):
            out[at[i] + j] = data[start[i] + j]


def _replace(
    state: NDArray[np.float32], rows: NDArray[np.int64], stale: NDArray[np.int64], encoded: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`state` [n, width] with the rows of stale users taken from `encoded` (stale is sorted)."""
    place = np.searchsorted(stale, rows)
    place[place == len(stale)] = 0
    is_stale = stale[place] == rows
    state[is_stale] = encoded[place[is_stale]]
    return state


def _step_in_order(
    model: Any,
    state: NDArray[np.float32],
    rows: NDArray[np.int64],
    items: NDArray[np.int64],
    ts: NDArray[np.float64],
) -> NDArray[np.float32]:
    """State after each event [n, width], from the state before each user's first; a user's events one after another.

    Events are taken in rounds: round r holds every user's r-th event, so each round is one batched step. An event of
    an item the model does not know leaves the state as it was.
    """
    order = np.argsort(rows, kind="stable")
    sorted_rows = rows[order]
    starts = np.r_[True, sorted_rows[1:] != sorted_rows[:-1]]
    first = np.flatnonzero(starts)
    turn = np.arange(len(rows)) - np.repeat(first, np.diff(np.r_[first, len(rows)]))
    after = state.copy()
    by_turn = order[np.argsort(turn, kind="stable")]
    sizes = np.bincount(turn)
    begin, previous_of = 0, np.full(len(rows), -1, np.int64)
    previous_of[order[1:]] = np.where(starts[1:], -1, order[:-1])
    for size in sizes.tolist():
        now = by_turn[begin : begin + size]
        begin += size
        before = np.where(previous_of[now] >= 0, previous_of[now], now)
        current = after[before]
        known = items[now] >= 0
        if known.any():
            current[known] = model.step(current[known], items[now][known], ts[now][known])
        after[now] = current
    return after
