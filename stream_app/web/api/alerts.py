"""GET /alerts, and what people do about them: acknowledge, silence, judge."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from stream_app.transport.partitioning import partition_of
from stream_app.web.api.alert_views import AlertQuery, AlertView, all_alerts, desks, find_alert
from stream_app.web.api.endpoint import Answer, Call, Endpoint
from stream_app.web.api.groups import check_alerts, others
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers
from stream_app.web.problems import Problem
from topics.events import AlertAction
from topics.fields import Id, Time

__all__ = ["Alerting"]

_YEAR_S = 366 * 86_400.0

Note = Annotated[str, Meta(max_length=1000, description="Why; kept with the alert.")]
Duration = Annotated[
    float, Meta(gt=0, le=_YEAR_S, description="Seconds of event time; TSREC_ALERTS__SILENCE_S if not given.")
]
By = Annotated[Id, Meta(description="Who does it.")]


class AlertList(Struct, frozen=True, omit_defaults=True):
    """Alerts of all workers, worst first, then latest. missing: workers that did not answer, so theirs lack."""

    alerts: list[AlertView]
    total: Annotated[int, Meta(description="How many fit, also beyond the limit.")]
    missing: list[str] = []


class AcknowledgeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody has taken an alert on."""

    by: By | None = None
    note: Note | None = None


class SilenceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Alerts of the same kind and subject, up to the severity of this one, are not published for a while."""

    by: By | None = None
    note: Note | None = None
    duration_s: Duration | None = None


class VerdictBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an alert was right; kept as a label."""

    confirmed: bool
    by: By | None = None
    note: Note | None = None


class ActionAnswer(Struct, frozen=True, omit_defaults=True):
    """What was sent to the topic `alert-actions`; it takes effect when its record is read, within a second."""

    alert_id: Id
    action: Literal["acknowledge", "silence", "confirm", "reject"]
    record: Annotated[str, Meta(description="topic:partition:offset of the record.")]
    until_ts: Time | None = None


class Alerting:
    """The routes."""

    def __init__(self, context: WebContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers

    def endpoints(self) -> list[Endpoint]:
        """Their declarations."""
        act = partial(Endpoint, "POST", tag="risk", answer=ActionAnswer, status=202, problems=(404, 502))
        path = "/alerts/{alert_id}"
        return [
            Endpoint(
                "GET", "/alerts", "Alerts, by state, severity, kind or subject", "risk", self.get, AlertList,
                query=AlertQuery,
            ),
            act(f"{path}/acknowledge", "Take an alert on", handler=self.acknowledge, body=AcknowledgeBody),
            act(f"{path}/silence", "Silence its kind and subject", handler=self.silence, body=SilenceBody),
            act(f"{path}/verdict", "Say whether it was right", handler=self.verdict, body=VerdictBody),
        ]  # fmt: skip

    # -- reading

    async def get(self, call: Call) -> AlertList:
        """Open alerts of the whole group with their evidence. Other workers are asked for those of their partitions."""
        query: AlertQuery = call.query
        check_alerts(self._context)
        found = await self._context.in_stream(self._here, query)
        theirs, missing = await others(self._peers, call.request, AlertList)
        total = len(found) + sum(one.total for one in theirs)
        found += [alert for one in theirs for alert in one.alerts]
        return AlertList(sorted(found, key=AlertQuery.order)[: query.limit], total, missing)

    def _here(self, query: AlertQuery) -> list[AlertView]:
        return [alert for alert in all_alerts(self._context.risk.alerts, self._partitions()) if query.wants(alert)]

    def _partitions(self) -> set[int]:
        return self._peers.mine(self._context.catalog["alert-actions"].kafka_name)

    # -- acting

    async def acknowledge(self, call: Call) -> ActionAnswer | Answer:
        """No repeats from now on, unless it becomes worse."""
        return await self._act(call, "acknowledge")

    async def silence(self, call: Call) -> ActionAnswer | Answer:
        """Not published again until `until_ts`, unless it becomes worse than it is now."""
        return await self._act(call, "silence")

    async def verdict(self, call: Call) -> ActionAnswer | Answer:
        """Confirm or reject it; thresholds and models learn from the labels."""
        return await self._act(call, "confirm" if call.body.confirmed else "reject")

    async def _act(
        self, call: Call, action: Literal["acknowledge", "silence", "confirm", "reject"]
    ) -> ActionAnswer | Answer:
        """Send the action, by the worker whose alert it is: it knows the event time."""
        alert_id = call.path["alert_id"]
        check_alerts(self._context)
        now = await self._context.in_stream(self._event_time_of, alert_id)
        if now is None:
            return await self._elsewhere(call, alert_id)
        silence_s = getattr(call.body, "duration_s", None) or self._context.settings.alerts.silence_s
        until = now + silence_s if action == "silence" else None
        record = AlertAction(alert_id, action, time.time(), call.body.by, until, call.body.note)
        return ActionAnswer(alert_id, action, await self._context.in_stream(self._send, record), until)

    def _event_time_of(self, alert_id: str) -> float | None:
        """The newest time of the events that the alert is of, where it lives; None where it is not here. In the
        stream's loop. Other topics may have other times: people act now, also on alerts of a replay."""
        alerts, app = self._context.risk.alerts, self._context.processor
        place = find_alert(alerts, self._partitions(), alert_id)
        if place is None:
            known = any(desk.review.knows(alert_id) for _, _, desk in desks(alerts, self._partitions()))
            return time.time() if known else None  # known: it is over, and waits for a verdict only
        partition, _, alert = place
        home = (alert.source.rpartition(":")[0].rpartition(":")[0], partition)
        newest = [ts for tp, ts in app.event_time.newest.items() if (tp.topic, tp.partition) == home]
        return max([alert.last_ts, *newest])

    async def _send(self, action: AlertAction) -> str:
        """In the stream's loop: to the broker, until it has it."""
        topic = self._context.catalog["alert-actions"]
        key = action.alert_id.encode()
        partition = partition_of(key, topic.partitions)
        producer = self._context.processor.producer_for(None)
        sent = await producer.send_and_wait(topic.kafka_name, msgspec.json.encode(action), key, partition)
        return f"{topic.kafka_name}:{sent.partition}:{sent.offset}"

    async def _elsewhere(self, call: Call, alert_id: str) -> Answer:
        unknown = Problem(
            404, f"no alert {alert_id!r} is open, cooling or waiting for a verdict; GET /alerts lists them"
        )
        if self._peers.was_forwarded(call.request):
            raise unknown
        answers = await self._peers.ask_all(call.request, msgspec.json.encode(call.body))
        for _, answer in answers:
            if isinstance(answer, Answer) and answer.status != 404:
                return answer
        for _, answer in answers:
            if isinstance(answer, Problem):
                raise answer
        raise unknown
