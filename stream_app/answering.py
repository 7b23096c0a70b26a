"""What the inference thread does with the events of one or more lanes: step, rank, encode, learn; all in one call.

A batch of a few events costs what its calls cost, not what its rows do. So what waits for the thread is answered
together: one step of the model, one ranking, one encoding, whatever number of lanes the events came from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_app.agents.trends import ItemTrends
from stream_app.auditing import Auditor
from stream_app.blending import Blended
from stream_app.inference import Ladder
from stream_app.items import ItemIndex
from stream_app.latest import Published
from stream_app.list_making import ListMaker, Rows
from stream_app.lists import encode_lists_of
from stream_app.models import of_one_model
from stream_app.requests import Answer, Compared, Request
from stream_app.settings import Settings
from stream_app.stepping import joined, step_requests
from stream_app.trial import Trial, Tried
from topics.spans import Spans
from tsrec_models.sequence.rules import EMPTY

__all__ = ["Answering"]


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
        self.making = ListMaker(trends, items, settings)

    def __call__(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """Answer each request, then learn from it: learning cannot be taken back.

        An error comes in the place of the answer it belongs to: where requests that were answered together fail,
        each is tried alone.
        """
        answers: list[Answer | Exception] = []
        for group in of_one_model(requests):
            answers += self._together(group)
        self._learn(requests, answers)
        return answers

    def _learn(self, requests: Sequence[Request], answers: list[Answer | Exception]) -> None:
        """Learn from what was answered: each partition by itself, their sum from all at once."""
        learnt = []
        for i, request in enumerate(requests):
            if isinstance(answers[i], Answer):
                try:
                    request.partition.learn(request.previous, request.numbers, request.batch.columns.ts)
                    learnt.append(request)
                except Exception as error:  # noqa: BLE001 - raised in the lane that asked
                    answers[i] = error
        if learnt:
            self.trends.learn_sum(
                joined([request.partition.to_indices(request.previous) for request in learnt]),
                joined([request.indices for request in learnt]),
                joined([request.batch.columns.ts for request in learnt]),
            )

    def _together(self, requests: list[Request]) -> list[Answer | Exception]:
        try:
            return list(self._answer(requests))
        except Exception as error:  # noqa: BLE001 - raised in the lane that asked
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in self._together([request])]

    def _answer(self, requests: list[Request]) -> list[Answer]:
        answers = [Answer() for _ in requests]
        live = requests[0].live
        after = None if live is None else step_requests(live, requests)
        if after is not None:
            begin = 0
            for request, answer in zip(requests, answers, strict=True):
                answer.state = after[begin : begin + len(request)]
                begin += len(request)
        asking = [(request, answer) for request, answer in zip(requests, answers, strict=True) if len(request.answered)]
        if asking:
            self._recommend([request for request, _ in asking], [answer for _, answer in asking])
        return answers

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
            state = joined([a.state[r.answered] for r, a in zip(requests, answers, strict=True) if a.state is not None])
        about = Rows(
            recent=joined([request.recent for request in requests]),
            seen=joined([request.seen for request in requests]),
            ts=joined([request.batch.columns.ts[request.answered] for request in requests]),
            allowed=_stacked([request.allowed for request in requests]),
            group=np.repeat(np.arange(len(requests)), [len(request.answered) for request in requests]),
            category=max((request.category for request in requests), key=len),
        )
        candidates, lists, causes = self.making.make(rung, live, state, about)
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
                    parts = self.trends.rules.contributions(about.recent, np.maximum(lists.items, 0), now=about.ts)
                answer.records = self.auditor.describe(
                    request.batch, request.answered, request.audited, candidates, lists, first=part.start, live=live,
                    state=state, rung=rung, rules=self.making.rules_of(live), recent=about.recent, seen=about.seen,
                    ts=about.ts, allowed=request.allowed, category=about.category, parts=parts, notes=notes,
                    classes=self.making.popularity() if self.making.settings.filters.calibration > 0 else None,
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
        tried = self.making.make("neural", shadow, shadow.encode(compared.histories, compared.times), Rows(
            recent=request.recent[at], seen=request.seen[at], ts=request.batch.columns.ts[request.answered[at]],
            allowed=request.allowed[None], group=np.zeros(len(at), np.int64), category=request.category,
        ))  # fmt: skip
        for user, place, items in zip(compared.users, at.tolist(), tried.lists.items.tolist(), strict=True):
            trial.keep(user, Tried(version, frozenset(made.lists.items[place].tolist()), frozenset(items)))


def _stacked(parts: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Masks of different length as rows of one; an item that a mask does not know yet is not allowed."""
    width = max(len(part) for part in parts)
    out = np.zeros((len(parts), width), np.bool_)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return out
