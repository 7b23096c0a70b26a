"""What the inference thread does with the events of one or more lanes: step, rank, encode, learn; all in one call.

A batch of a few events costs what its calls cost, not what its rows do. So what waits for the thread is answered
together: one step of the model, one ranking, one encoding, whatever number of lanes the events came from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.trends import ItemTrends, PartitionTrends
from stream_app.auditing import Audited, Auditor
from stream_app.batch import Batch
from stream_app.blending import Blended
from stream_app.composing import Candidates, Order, Rules, compose
from stream_app.inference import Ladder
from stream_app.items import ItemIndex
from stream_app.latest import Published
from stream_app.lists import encode_lists_of
from stream_app.models import LiveModel, of_one_model
from stream_app.settings import Settings
from stream_app.stepping import step_in_order
from stream_app.trial import Trial, Tried
from topics.spans import Spans
from tsrec_models.sequence.filters_order import popularity_classes
from tsrec_models.sequence.rules import EMPTY

__all__ = ["Answer", "Answering", "Compared", "Request", "Stale"]

#: Candidates from each source: enough that filters leave a full list, few enough to mix quickly.
CANDIDATES = 40

#: Trending items kept at hand for cold users and short lists. Finding them takes a pass over all items, so they are
#: kept for a moment, and for longer where that pass is long: it takes at most a twentieth of the time.
TRENDING, TRENDING_AGE_S, TRENDING_SHARE = 200, 0.05, 20.0

#: How long items keep their class of popularity.
CLASSES_AGE_S = 30.0


@dataclass(frozen=True, slots=True)
class Stale:
    """Users whose hidden state is of no use, by sorted row, and what they did before this batch, oldest first."""

    rows: NDArray[np.int64]
    histories: list[NDArray[np.int64]]
    times: list[NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Compared:
    """Users of a batch for whom the shadow model is scored too.

    For each: the item of the first event, what was in the ring before it, what is in the ring after the last event with
    its times (oldest first), and the place of that event among those answered.
    """

    shadow: LiveModel
    users: list[bytes]
    first: list[int]
    before: list[NDArray[np.int64]]
    histories: list[NDArray[np.int64]]
    times: list[NDArray[np.float64]]
    places: NDArray[np.int64]


@dataclass(slots=True)
class Request:
    """The events of a batch and copies of what is known of their users, so that the thread touches no shard.

    n events, m of them answered. rows: of the users; a user's events are stepped one after another. numbers: of the
    items, in the partition. previous: numbers before each event, latest first, EMPTY-padded. state: float32 [n,
    width], each user's before the batch. seen: indices that never appear, [m, any]. allowed, category: by item index.
    notes: why a list is withheld, [m].
    """

    batch: Batch
    partition: PartitionTrends
    rows: NDArray[np.int64]
    numbers: NDArray[np.int64]
    previous: NDArray[np.int64]
    indices: NDArray[np.int64]
    live: LiveModel | None = None
    state: NDArray[np.float32] | None = None
    stale: Stale | None = None
    answered: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    recent: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    seen: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    allowed: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    category: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    notes: list[str | None] = field(default_factory=list)
    compared: Compared | None = None
    audited: Audited | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Answer:
    """What came of a request: the state after each event, the records to publish and what is in them, what sampled
    decisions were made from, and how many of each rung."""

    state: NDArray[np.float32] | None = None
    values: Spans | None = None
    made: Published | None = None
    records: list[bytes] = field(default_factory=list)
    rungs: dict[str, int] = field(default_factory=dict)


class Answering:
    """Called in the inference thread only; holds nothing of any user."""

    def __init__(
        self,
        trends: ItemTrends,
        items: ItemIndex,
        ladder: Ladder,
        settings: Settings,
        trial: Trial | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self.trends = trends
        self.trial = trial
        self.auditor = auditor
        self.items = items
        self.ladder = ladder
        self.settings = settings
        self._trending: tuple[NDArray[np.int64], NDArray[np.float32]] = (np.empty(0, np.int64), np.empty(0, np.float32))
        self._trending_of = -1
        self._trending_until = -np.inf
        self._classes = np.empty(0, np.int64)
        self._classes_until = -np.inf

    def __call__(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """Answer each request, then learn from it: learning cannot be taken back.

        An error comes in the place of the answer it belongs to: where requests that were answered together fail,
        each is tried alone.
        """
        answers: list[Answer | Exception] = []
        for group in of_one_model(requests):
            answers += self._together(group)
        for i, request in enumerate(requests):
            if isinstance(answers[i], Answer):
                try:
                    ts = request.batch.columns.ts
                    self.trends.learn(request.partition, request.previous, request.numbers, ts)
                except Exception as error:  # noqa: BLE001 - raised in the lane that asked
                    answers[i] = error
        return answers

    def rules_of(self, live: LiveModel | None) -> Rules:
        """By which settings lists are made with a model."""
        settings, filters = self.settings, self.settings.filters
        return Rules(
            settings.k, live.neural_weight if live is not None else 0.0, settings.category_cap, filters.minimum_score,
            filters.diversity, filters.calibration,
        )  # fmt: skip

    def _together(self, requests: list[Request]) -> list[Answer | Exception]:
        try:
            return list(self._answer(requests))
        except Exception as error:  # noqa: BLE001 - raised in the lane that asked
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in self._together([request])]

    def _answer(self, requests: list[Request]) -> list[Answer]:
        answers = [Answer() for _ in requests]
        after = self._step(requests)
        if after is not None:
            begin = 0
            for request, answer in zip(requests, answers, strict=True):
                answer.state = after[begin : begin + len(request)]
                begin += len(request)
        asking = [(request, answer) for request, answer in zip(requests, answers, strict=True) if len(request.answered)]
        if asking:
            self._recommend([request for request, _ in asking], [answer for _, answer in asking])
        return answers

    # -- hidden state

    def _step(self, requests: list[Request]) -> NDArray[np.float32] | None:
        """The model's state after each event [n, width], of all requests."""
        live = requests[0].live
        if live is None:
            return None
        for request in requests:
            if request.stale is not None and request.state is not None:
                # New users, and users last stepped by another model: encode what came before this batch.
                stale = request.stale
                encoded = live.encode(stale.histories, stale.times)
                _replace(request.state, request.rows, stale.rows, encoded)
        # Rows of one number in two partitions are two users.
        rows = _joined([request.rows + (i << 40) for i, request in enumerate(requests)])
        state = _joined([request.state for request in requests if request.state is not None])
        items = live.to_model(_joined([request.indices for request in requests]))
        return step_in_order(live.model, state, rows, items, _joined([r.batch.columns.ts for r in requests]))

    # -- lists

    def _recommend(self, requests: list[Request], answers: list[Answer]) -> None:
        live = requests[0].live
        rows = sum(len(request.answered) for request in requests)
        arrived_s = min(request.batch.records.received_s for request in requests)
        rungs = [rung for rung in self.ladder.rungs if rung != "neural" or live is not None]
        rung = self.ladder.choose(rows, arrived_s, rungs)
        began = time.monotonic()
        state = None
        if live is not None and rung == "neural":
            state = _joined(
                [a.state[r.answered] for r, a in zip(requests, answers, strict=True) if a.state is not None]
            )
        recent = _joined([request.recent for request in requests])
        seen = _joined([request.seen for request in requests])
        ts = _joined([request.batch.columns.ts[request.answered] for request in requests])
        category = max((request.category for request in requests), key=len)
        candidates = self.candidates(rung, live, state, recent, seen, ts)
        lists, causes = self._listed(
            candidates, live if state is not None else None, recent=recent, seen=seen, ts=ts, category=category,
            allowed=_stacked([request.allowed for request in requests]),
            group=np.repeat(np.arange(len(requests)), [len(request.answered) for request in requests]),
        )  # fmt: skip
        self.ladder.took(rung, rows, time.monotonic() - began)
        notes = [note for request in requests for note in request.notes]
        for i, note in enumerate(notes):
            if note is not None:
                lists.items[i] = EMPTY
        sources = [(request.batch, request.answered) for request in requests]
        version = live.version if live is not None and rung == "neural" else "rules"
        values, trending = encode_lists_of(sources, lists, causes, self.items, rung, version, notes)
        begin = 0
        for request, answer in zip(requests, answers, strict=True):
            part = slice(begin, begin + len(request.answered))
            begin += len(request.answered)
            answer.values = Spans(values.data, values.start[part], values.end[part])
            answer.made = Published(
                answer.values, Blended(lists.items[part], lists.scores[part], lists.sources[part]), causes[part],
                trending[part], rung, version, notes[part],
            )  # fmt: skip
            if request.audited is not None and self.auditor is not None:
                parts = None
                if candidates.rules is not None:
                    parts = self.trends.rules.contributions(recent, np.maximum(lists.items, 0), now=ts)
                answer.records = self.auditor.describe(
                    request.batch, request.answered, request.audited, candidates, lists, first=part.start, live=live,
                    state=state, rung=rung, rules=self.rules_of(live), recent=recent, seen=seen, ts=ts,
                    allowed=request.allowed, category=category, parts=parts, notes=notes,
                    classes=self._popularity() if self.settings.filters.calibration > 0 else None,
                )  # fmt: skip
            cold = int(trending[part].sum())
            answer.rungs = {"trending": cold}
            answer.rungs[rung] = answer.rungs.get(rung, 0) + len(request.answered) - cold
            if request.compared is not None and self.trial is not None:
                self._try(request, request.compared, answer.made)

    # -- a model tried beside

    def _try(self, request: Request, compared: Compared, made: Published) -> None:
        """Judge the lists that both models made before, and let the shadow make its own after these events."""
        trial, shadow = self.trial, compared.shadow
        assert trial is not None
        version = (request.live.version if request.live is not None else "rules", shadow.version)
        for user, item, before in zip(compared.users, compared.first, compared.before, strict=True):
            trial.judge(user, item, before, version)
        if made.rung != ("neural" if request.live is not None else "rules"):
            return  # in a hurry the live model did not answer itself
        at = compared.places
        lists, _ = self.lists(
            "neural", shadow, shadow.encode(compared.histories, compared.times), recent=request.recent[at],
            seen=request.seen[at], ts=request.batch.columns.ts[request.answered[at]], allowed=request.allowed[None],
            group=np.zeros(len(at), np.int64), category=request.category,
        )  # fmt: skip
        for user, place, items in zip(compared.users, at.tolist(), lists.items.tolist(), strict=True):
            trial.keep(user, Tried(version, frozenset(made.lists.items[place].tolist()), frozenset(items)))

    # -- candidates and lists

    def lists(
        self,
        rung: str,
        live: LiveModel | None,
        state: NDArray[np.float32] | None,
        *,
        recent: NDArray[np.int64],
        seen: NDArray[np.int64],
        ts: NDArray[np.float64],
        allowed: NDArray[np.bool_],
        group: NDArray[np.int64],
        category: NDArray[np.int32],
    ) -> tuple[Blended, NDArray[np.int64]]:
        """Candidates, blended; and for each item of a list, the past item it follows from, EMPTY where no rule says.

        recent, seen: item indices [n, any], EMPTY-padded. allowed: bool [groups, items]; group: of each row, [n].
        """
        candidates = self.candidates(rung, live, state, recent, seen, ts)
        return self._listed(
            candidates,
            live if state is not None else None,
            recent=recent,
            seen=seen,
            ts=ts,
            allowed=allowed,
            group=group,
            category=category,
        )

    def _listed(
        self,
        candidates: Candidates,
        live: LiveModel | None,
        *,
        recent: NDArray[np.int64],
        seen: NDArray[np.int64],
        ts: NDArray[np.float64],
        allowed: NDArray[np.bool_],
        group: NDArray[np.int64],
        category: NDArray[np.int32],
    ) -> tuple[Blended, NDArray[np.int64]]:
        lists = compose(
            candidates, self.rules_of(live), seen=seen, allowed=allowed, group=group, category=category,
            order=self._order(live, category, seen if seen.shape[1] else recent),
        )  # fmt: skip
        return lists, self.causes(candidates, lists, recent, ts)

    def candidates(
        self,
        rung: str,
        live: LiveModel | None,
        state: NDArray[np.float32] | None,
        recent: NDArray[np.int64],
        seen: NDArray[np.int64],
        ts: NDArray[np.float64],
    ) -> Candidates:
        """What each source that the rung asks names, [n, CANDIDATES]; arguments as of `lists`."""
        return Candidates(
            live.topk(state, CANDIDATES, seen) if state is not None and live is not None else None,
            self.trends.rules.topk(recent, CANDIDATES, now=ts) if rung != "trending" else None,
            self.trending(),
        )

    def causes(
        self, candidates: Candidates, lists: Blended, recent: NDArray[np.int64], ts: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """The past item that each item of a list follows from by the strongest rule [n, k], EMPTY for none."""
        causes = np.full(lists.items.shape, EMPTY, np.int64)
        if candidates.rules is not None:
            parts = self.trends.rules.contributions(recent, np.maximum(lists.items, 0), now=ts)
            strongest = parts.argmax(axis=2)
            from_rules = (lists.items >= 0) & (parts.max(axis=2) > 0)
            causes = np.where(from_rules, np.take_along_axis(recent, strongest, axis=1), EMPTY)
        return causes

    def _order(self, live: LiveModel | None, category: NDArray[np.int32], history: NDArray[np.int64]) -> Order | None:
        """What ordered lists need; None where lists are in the order of their scores."""
        filters = self.settings.filters
        if filters.calibration > 0:
            classes = self._popularity()
            return Order(classes=classes, history=history) if len(classes) else None
        if filters.diversity > 0:
            by_model = live is not None and not (category >= 0).any()
            return Order(vectors=live.vectors() if by_model and live is not None else None)
        return None

    def _popularity(self) -> NDArray[np.int64]:
        now, trending = time.monotonic(), self.trends.trending
        if now >= self._classes_until or not len(self._classes):
            self._classes = popularity_classes(trending.counts().astype(np.float64))
            self._classes_until = now + CLASSES_AGE_S
        more = len(self.items) - len(self._classes)
        if more > 0 and len(self._classes):  # what nobody took yet is of the least popular
            self._classes = np.concatenate([self._classes, np.full(more, self._classes.max())])
        return self._classes

    def trending(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Indices and scores of what most take now, best first."""
        now, n_items = time.monotonic(), self.trends.trending.n_items
        if now >= self._trending_until or n_items != self._trending_of:
            self._trending = self.trends.trending.top(min(TRENDING, max(1, n_items)))
            self._trending_of = n_items
            took_s = time.monotonic() - now
            self._trending_until = now + max(TRENDING_AGE_S, TRENDING_SHARE * took_s)
        return self._trending


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _stacked(parts: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Masks of different length as rows of one; an item that a mask does not know yet is not allowed."""
    width = max(len(part) for part in parts)
    out = np.zeros((len(parts), width), np.bool_)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return out


def _replace(
    state: NDArray[np.float32], rows: NDArray[np.int64], stale: NDArray[np.int64], encoded: NDArray[np.float32]
) -> None:
    """Set the rows of `state` [n, width] that belong to stale users (sorted) to theirs of `encoded`."""
    place = np.minimum(np.searchsorted(stale, rows), len(stale) - 1)
    is_stale = stale[place] == rows
    state[is_stale] = encoded[place[is_stale]]
