"""GET /reviews: alerts that wait for a verdict, the verdicts given, and how often people agreed."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from msgspec import Meta, Struct

from stream_app.web.api.alert_views import Subjects, about, desks
from stream_app.web.api.endpoint import Call, Endpoint
from stream_app.web.api.groups import check_alerts, others
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers
from topics.fields import Id, Label, Severity, Time
from tsrec_models.risk.alerts import rank
from tsrec_models.risk.alerts_review import precision_of

__all__ = ["Reviews"]


class WaitingAlert(Struct, frozen=True):
    """An alert as it was published last, also one that is over."""

    alert_id: Id
    kind: Label
    subject: Id
    about: Subjects
    severity: Severity
    value: float
    threshold: float
    message: str
    evidence: dict[str, Any]
    first_ts: Time
    last_ts: Time
    source: str


class Judged(Struct, frozen=True):
    """A verdict with what the alert said: a label to learn from."""

    alert_id: Id
    kind: Label
    subject: Id
    severity: Severity
    value: float
    threshold: float
    confirmed: bool
    by: str
    ts: Time
    note: str
    evidence: dict[str, Any]


class Agreement(Struct, frozen=True):
    """How many alerts of a kind people confirmed; share with its 90 % interval (Wilson)."""

    kind: Label
    reviewed: int
    confirmed: int
    share: float
    lower: float
    upper: float


class ReviewList(Struct, frozen=True, omit_defaults=True):
    """What waits: worst first, then oldest. Labels: latest first. missing: workers that did not answer."""

    waiting: list[WaitingAlert]
    labels: list[Judged]
    agreement: list[Agreement]
    total_waiting: Annotated[int, Meta(description="How many wait, also beyond the limit.")]
    total_labels: Annotated[int, Meta(description="How many verdicts are kept, also beyond the limit.")]
    dropped: Annotated[int, Meta(description="Alerts that left a full queue unseen, since the workers started.")] = 0
    missing: list[str] = []


class ReviewQuery(Struct, forbid_unknown_fields=True):
    """What is wanted."""

    kind: Label | None = None
    limit: Annotated[int, Meta(ge=0, le=1000, description="Waiting alerts, and labels, at most.")] = 100


class Reviews:
    """The route."""

    def __init__(self, context: WebContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers

    def endpoints(self) -> list[Endpoint]:
        """Its declaration."""
        return [
            Endpoint(
                "GET", "/reviews", "Alerts that wait for a verdict, and the verdicts", "risk", self.get, ReviewList,
                query=ReviewQuery,
            )
        ]  # fmt: skip

    async def get(self, call: Call) -> ReviewList:
        """The review queues of the whole group. Judge by `POST /alerts/{alert_id}/verdict`."""
        query: ReviewQuery = call.query
        check_alerts(self._context)
        here = await self._context.in_stream(self._here, query)
        theirs, missing = await others(self._peers, call.request, ReviewList)
        return _together([here, *theirs], query.limit, missing)

    def _here(self, query: ReviewQuery) -> ReviewList:
        """Of the partitions held, in no order and all of them; in the stream's loop."""
        partitions = self._peers.mine(self._context.catalog["alert-actions"].kafka_name)
        waiting: list[WaitingAlert] = []
        labels: list[Judged] = []
        dropped = 0
        for _, channel, desk in desks(self._context.risk.alerts, partitions):
            queue = desk.review
            dropped += queue.dropped
            waiting += [
                WaitingAlert(
                    a.alert_id, a.kind, a.subject, about(channel), a.severity, float(a.value), float(a.threshold),
                    a.message, a.evidence, a.first_ts, a.last_ts, a.source,
                )
                for a in queue.waiting(query.kind)
            ]  # fmt: skip
            labels += [
                Judged(
                    x.alert_id, x.kind, x.subject, x.severity, float(x.value), float(x.threshold), x.confirmed, x.by,
                    x.ts, x.note, x.evidence,
                )
                for x in queue.labels.values()
                if query.kind in (None, x.kind)
            ]  # fmt: skip
        reviewed = Counter(label.kind for label in labels)
        confirmed = Counter(label.kind for label in labels if label.confirmed)
        return ReviewList(
            waiting, labels, [_agreement(kind, confirmed[kind], n) for kind, n in reviewed.items()], len(waiting),
            len(labels), dropped,
        )  # fmt: skip


def _together(found: list[ReviewList], limit: int, missing: list[str]) -> ReviewList:
    """Lists of several workers as one, in order and no longer than `limit`."""
    waiting = sorted(
        (alert for one in found for alert in one.waiting), key=lambda a: (-rank(a.severity), a.first_ts, a.alert_id)
    )
    labels = sorted((label for one in found for label in one.labels), key=lambda x: (-x.ts, x.alert_id))
    reviewed, confirmed = Counter[str](), Counter[str]()
    for one in found:
        for part in one.agreement:
            reviewed[part.kind] += part.reviewed
            confirmed[part.kind] += part.confirmed
    agreement = [_agreement(kind, confirmed[kind], reviewed[kind]) for kind in sorted(reviewed)]
    return ReviewList(
        waiting[:limit], labels[:limit], agreement,
        sum(one.total_waiting for one in found), sum(one.total_labels for one in found),
        sum(one.dropped for one in found), missing,
    )  # fmt: skip


def _agreement(kind: str, confirmed: int, reviewed: int) -> Agreement:
    share = precision_of(confirmed, reviewed)
    return Agreement(kind, share.reviewed, share.confirmed, share.share, share.lower, share.upper)
