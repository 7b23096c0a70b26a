"""GET /decisions/{decision_id}."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from stream_app.web.api.alert_views import AlertView, find_alert
from stream_app.web.api.endpoint import Answer, Call, Endpoint
from stream_app.web.api.views import RecommendationAnswer, of_listed
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers
from stream_app.web.problems import Problem
from topics.fields import Id

__all__ = ["DecisionAnswer", "Decisions"]

#: What a recommendation's id looks like.
_ID = re.compile(r"[0-9a-f]{24}\Z")


class DecisionAnswer(Struct, frozen=True, omit_defaults=True):
    """What is known of one decision now."""

    decision_id: Id
    kind: Literal["recommendation", "alert"]
    recommendation: RecommendationAnswer | None = None
    alert: AlertView | None = None
    replay: Annotated[dict[str, Any], Meta(description="The decision made again from its inputs.")] | None = None


class Decisions:
    """The route."""

    def __init__(self, context: WebContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers

    def endpoints(self) -> list[Endpoint]:
        """Its declaration."""
        return [
            Endpoint(
                "GET", "/decisions/{decision_id}", "What is known of a decision", "decisions", self.get, DecisionAnswer,
                problems=(404, 502),
            )
        ]  # fmt: skip

    async def get(self, call: Call) -> DecisionAnswer | Answer:
        """The last recommendation of a user, or an alert, by its id; all workers are asked. Of a recommendation that
        was followed by another, `tsrec replay-decision` tells more."""
        context, decision_id = self._context, call.path["decision_id"]
        unknown = Problem(
            404,
            f"no worker holds decision {decision_id!r}: the last recommendation of each user and alerts until their "
            "cooldown ends are kept; older ones are in the topics recommendations and risk-alerts",
        )
        for partition, row in context.latest.candidates(decision_id) if _ID.match(decision_id) else ():
            found = await context.in_stream(context.latest.read_decision, partition, row, decision_id)
            if found is not None:
                user, listed = found
                topic = context.recommender.users.layout.sources[listed.topic]
                shown = of_listed(context.items, user, listed, topic, partition, len(listed.items))
                return DecisionAnswer(decision_id, "recommendation", shown)
        mine = self._peers.mine(context.catalog["alert-actions"].kafka_name)
        alert = await context.in_stream(find_alert, context.risk.alerts, mine, decision_id)
        if alert is not None:
            return DecisionAnswer(decision_id, "alert", alert=alert[2])
        if not self._peers.was_forwarded(call.request):
            for _, answer in await self._peers.ask_all(call.request):
                if isinstance(answer, Answer) and answer.status == 200:
                    return answer
            if context.replay is not None:
                replayed = await context.replay(decision_id)
                if replayed is not None:
                    return DecisionAnswer(decision_id, "recommendation", replay=replayed)
        raise unknown
