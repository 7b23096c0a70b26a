"""Recommendations: each click or purchase updates the user's profile and is answered with the items to show next."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.profiles import ACTIONS, CLICK, PURCHASE, RING, remember
from stream_app.agents.trends import ItemTrends, PartitionTrends
from stream_app.answering import Answering
from stream_app.auditing import Audited, Auditor
from stream_app.batch import Batch, BatchTopic
from stream_app.gate import Gate
from stream_app.inference import Inference, Ladder, Merged
from stream_app.items import ItemIndex
from stream_app.latest import LatestLists
from stream_app.metrics import Metrics
from stream_app.models import LiveModel
from stream_app.rehearsal import NOWHERE
from stream_app.requests import Answer, Compared, Request, Stale
from stream_app.settings import Settings
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from stream_app.trial import Trial
from topics.spans import Spans

__all__ = ["Recommender"]

#: Events answered in one call: enough that calls cost little, few enough that the first does not wait for the last.
MAX_MERGED = 1024


class Recommender:
    """The agent of `clicks` and `purchases`: profile -> rules and hidden state -> ladder -> `recommendations`.

    What is kept of a user is read and written here, in the event loop; models are asked in the inference thread.
    """

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
        latest: LatestLists | None = None,
        records: BatchTopic | None = None,
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
        self.latest = latest
        self._answered = np.array([action in settings.trigger.actions for action in ACTIONS])
        #: A model tried beside the one that answers.
        self.shadow: LiveModel | None = None
        self.trial = Trial(settings.trial, metrics)
        #: Where sampled decisions are written down.
        self.records = records
        self.auditor = Auditor(items, settings.audit_share)
        self._answering = Answering(trends, items, self.ladder, settings, self.trial, self.auditor)
        self._merged: Merged[Request, Answer] = Merged(inference, self._answering, MAX_MERGED)

    async def __call__(self, batch: Batch) -> None:
        """Remember, have it answered and learnt from, and keep the new state."""
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
        history = remember(shard, rows, numbers, events.ts, kinds, self.trends.rules.settings.window)
        request = Request(batch, partition, rows, numbers, history.items, partition.to_indices(numbers))
        self._add_state(request, shard)
        answered = self._triggers(shard, rows, events.ts, kinds)
        if len(answered):
            self._add_lists(request, shard, answered)
        answer = await self._merged.ask(request)
        self._keep_state(request, answer, shard)
        shard.advance(rows, source, batch.offsets, events.ts)
        if answer.values is not None:
            users = events.user_id.take(answered)
            batch.send(self.output, users, answer.values)
            if self.latest is not None and answer.made is not None:
                at, ts = rows[answered], events.ts[answered]
                self.latest.keep(shard, source, users, at, batch.offsets[answered], ts, answer.made)
            if self.records is not None and answer.records and request.audited is not None:
                batch.send(self.records, users.take(request.audited.places), Spans.of(answer.records))
            self.metrics.decided("recommendation", answer.rungs, time.time() - batch.records.received_s)

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

    def _add_state(self, request: Request, shard: Shard) -> None:
        """Each user's hidden state as it was before the batch, or what to make it from."""
        live = self.model
        if live is None:
            return
        rows = request.rows
        request.live = live
        request.state = shard.column("hidden")[rows, : live.state_width].astype(np.float32)
        other = shard.column("model")[rows] != live.code
        if other.any():
            request.stale = self._before(shard, request.partition, rows[other])

    def _keep_state(self, request: Request, answer: Answer, shard: Shard) -> None:
        """Leave users with the state after their last event."""
        if answer.state is None or request.live is None:
            return
        # Of a row that comes several times, numpy keeps the last: each event's state is written in order.
        shard.column("hidden")[request.rows, : request.live.state_width] = answer.state
        shard.column("model")[request.rows] = request.live.code

    @staticmethod
    def _before(shard: Shard, partition: PartitionTrends, rows: NDArray[np.int64]) -> Stale:
        """Histories of the users at `rows`, one row for each event of theirs, without the events of this batch, which
        stand in the ring by now."""
        stale, in_batch = np.unique(rows, return_counts=True)
        entries, lengths = RING.last(shard, stale, fields=("item", "ts"))
        items = partition.to_indices(entries["item"].astype(np.int64))
        histories, times = [], []
        for i in range(len(stale)):
            take = slice(int(in_batch[i]), int(lengths[i]))
            histories.append(items[i, take][::-1].copy())
            times.append(entries["ts"][i, take][::-1].astype(np.float64))
        return Stale(stale, histories, times)

    # -- lists

    def _add_lists(self, request: Request, shard: Shard, answered: NDArray[np.int64]) -> None:
        """What the lists of the answered events need: what was taken, what may be shown, what is withheld."""
        batch, partition = request.batch, request.partition
        window = request.previous.shape[1]
        recent = np.concatenate([request.numbers[:, None], request.previous[:, : window - 1]], axis=1)
        request.answered = answered
        request.recent = partition.to_indices(recent[answered])
        request.seen = np.empty((len(answered), 0), np.int64)
        if self.settings.exclude_seen:
            taken = RING.last(shard, request.rows[answered], fields=("item",))[0]["item"]
            request.seen = partition.to_indices(taken.astype(np.int64))
        request.allowed = self.items.available(_latest(batch, answered))
        request.category = self.items.category_codes()
        request.notes = self._withheld(batch, answered)
        if self.auditor.on and self.records is not None:
            request.audited = self._audited(request, shard)
        if self.shadow is not None:
            request.compared = self._compared(self.shadow, request, shard)

    def _audited(self, request: Request, shard: Shard) -> Audited | None:
        """The decisions of a batch that are written down, with the users' histories up to each."""
        batch, rows = request.batch, request.rows
        places = self.auditor.drawn(batch.topic.name, batch.partition, batch.offsets[request.answered])
        if not len(places):
            return None
        chosen = request.answered[places]
        entries, lengths = RING.last(shard, rows[chosen], fields=("item", "ts"))
        items = request.partition.to_indices(entries["item"].astype(np.int64))
        histories, times, whole = [], [], []
        for i, event in enumerate(chosen.tolist()):
            later = int((rows[event + 1 :] == rows[event]).sum())  # they stand in the ring by now
            histories.append(items[i, later : int(lengths[i])][::-1].copy())
            times.append(entries["ts"][i, later : int(lengths[i])][::-1].astype(np.float64))
            whole.append(int(lengths[i]) < RING.n)
        return Audited(places, histories, times, whole)

    def _compared(self, shadow: LiveModel, request: Request, shard: Shard) -> Compared | None:
        """The users of a batch for whom both models are scored, with what each did."""
        batch, rows = request.batch, request.rows
        at = self.trial.drawn(batch.columns.user_id.take(request.answered).tolist())
        # Of a user with several events the last makes the list.
        _, last = np.unique(rows[request.answered[at]][::-1], return_index=True)
        at = np.sort(at[len(at) - 1 - last])
        if not len(at):
            return None
        chosen = rows[request.answered[at]]
        entries, lengths = RING.last(shard, chosen, fields=("item", "ts"))
        items = request.partition.to_indices(entries["item"].astype(np.int64))
        first, before, histories, times = [], [], [], []
        for i, row in enumerate(chosen.tolist()):
            events = np.flatnonzero(rows == row)
            first.append(int(request.indices[events[0]]))
            before.append(items[i, len(events) : int(lengths[i])].copy())
            histories.append(items[i, : int(lengths[i])][::-1].copy())
            times.append(entries["ts"][i, : int(lengths[i])][::-1].astype(np.float64))
        users = [user or b"" for user in batch.columns.user_id.take(request.answered[at]).tolist()]
        return Compared(shadow, users, first, before, histories, times, at)

    def _withheld(self, batch: Batch, answered: NDArray[np.int64]) -> list[str | None]:
        """For each answer why its list is held back from a user under a critical alert, or None."""
        notes: list[str | None] = [None] * len(answered)
        if len(self.gate):
            for i, user in enumerate(batch.columns.user_id.take(answered).tolist()):
                why = self.gate.withheld((user or b"").decode("utf-8", "replace"))
                notes[i] = None if why is None else f"withheld: {why}"
        return notes


def _latest(batch: Batch, answered: NDArray[np.int64]) -> float:
    """The time at which a batch is answered: its latest event's, where a clock is ahead its record's timestamp. Else
    one wrong clock would show everybody what is not for sale yet."""
    return float(np.minimum(batch.columns.ts, batch.records.stamped_s())[answered].max())
