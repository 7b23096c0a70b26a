"""The composition root: everything is put together here, nowhere else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy

from stream_app.agents.profiles import DAY_S, profile_columns
from stream_app.agents.recommendations import Recommender
from stream_app.agents.trends import SLOTS, ItemTrends, trend_columns
from stream_app.asking import OnDemand
from stream_app.batch import BatchTopic
from stream_app.catalog import CatalogReader
from stream_app.contract import catalog_of, dialect_of, inputs_of
from stream_app.decision_log import replay_decision
from stream_app.errors import UsageError
from stream_app.inference import Inference
from stream_app.items import ItemIndex
from stream_app.latest import LatestLists
from stream_app.metrics import Metrics
from stream_app.model_store import ModelStore
from stream_app.model_watch import ModelWatch
from stream_app.models import LiveModel
from stream_app.processor import Processor
from stream_app.risk_app import RiskDesk, risk_desk
from stream_app.security import cluster_of
from stream_app.settings import Settings
from stream_app.state.table import Table
from stream_app.web import WebContext, WebServer
from stream_app.web.peers import advertised_url
from stream_app.web.published import Fan, LastForecasts
from stream_app.web.taps import Taps
from stream_app.web.tokens import Security, security_of
from topics.catalog import Catalog
from tsrec_models.base import ModelError
from tsrec_models.sequence.rules import RuleSettings

__all__ = ["Application", "build"]

logger = logging.getLogger(__name__)

#: Events that an agent of the application takes at once: enough to spread the cost of a call, few enough that the
#: last of them does not wait long for the first.
MICRO_BATCH = 1024

#: Trades that an agent takes at once: nobody waits for a single trade's answer, and a batch costs the same whatever it
#: holds. Trades by account are watched one by one, and would hold up the event loop.
TRADES_BATCH = 4096

#: Topics that wait for none of the risk side: their agents change tables of their own. A visitor's list does not wait
#: for trades, nor for the estimates of demand, which another process makes.
LANES = {"clicks": "shop", "purchases": "shop", "item-counts": "demand"}

#: Longest that the page of a decision looks for its record.
REPLAY_S = 5.0

#: Half-life of what trends: long enough that a quiet night does not empty it.
TRENDING_HALF_LIFE_S = 3 * DAY_S


@dataclass
class Application:
    """A processor with everything that belongs to it, for the worker, the web pages and the tests."""

    processor: Processor
    settings: Settings
    catalog: Catalog
    items: ItemIndex
    recommender: Recommender
    inference: Inference
    metrics: Metrics
    risk: RiskDesk
    web: WebContext


def build(settings: Settings) -> Application:
    """Put the application together.

    Raises:
        UsageError, ArtifactError: a setting, or the model it names, that cannot work.
    """
    security = security_of(settings)
    advertised_url(settings, settings.web_port, tls=security.tls is not None)  # refused now rather than later
    metrics = Metrics()
    catalog = catalog_of(settings)
    metrics.announce(catalog.values(), version("tsrec"), settings.ladder.budget_ms / 1000.0)
    app = Processor(
        settings.group,
        bootstrap=cluster_of(settings),
        guarantee=settings.guarantee,
        partitions=settings.partitions,
        replication=settings.replication,
        checkpoint_interval_s=settings.checkpoint_interval_s,
        session_timeout_s=settings.session_timeout_s,
        batch_bytes=settings.batch_bytes,
        fetch_bytes=settings.fetch_bytes,
        fetch_pace_s=settings.fetch_pace_ms / 1000,
        fetch_wait_s=None if settings.fetch_wait_ms is None else settings.fetch_wait_ms / 1000,
        compression=settings.compression,
        dead_letters=catalog["dead-letters"].kafka_name,
        late_events=catalog["late-events"].kafka_name,
        metrics=metrics,
        consumer_auto_offset_reset=settings.offset_reset,
        table_standby_replicas=settings.standby_replicas,
    )
    topics = {name: _topic(app, settings, catalog, name) for name in catalog}
    items, inference, catalog_ready = ItemIndex(), Inference(), asyncio.Event()
    model, folder = None, None if settings.model is None else _first_model(settings.model)
    if folder is not None:
        model = LiveModel.load(folder, items, device=settings.device, max_state_width=settings.hidden_width)
        metrics.model.labels(model.model.name, model.version).set(1)
        metrics.model_created.labels(model.model.name, model.version).set(model.created)
    sources = [topics["clicks"], topics["purchases"]]
    users = app.columnar_table(
        "users", profile_columns(settings.hidden_width), sources=sources,
        retention_s=settings.profile_retention_days * DAY_S,
    )  # fmt: skip
    item_table = app.columnar_table("items", trend_columns(), sources=sources)
    trends = ItemTrends(item_table, items, RuleSettings(slots=SLOTS), TRENDING_HALF_LIFE_S)
    item_table.on_recover(trends.rebuild)
    app.checkpoint.before_cut.append(trends.write_back)
    risk = risk_desk(app, topics, settings, metrics, inference)
    latest = LatestLists(settings.k)
    recommender = Recommender(
        users=users, trends=trends, items=items, output=topics["recommendations"], inference=inference,
        metrics=metrics, settings=settings, catalog_ready=catalog_ready, gate=risk.alerts.gate,
        model=model, latest=latest, records=topics["decision-records"],
    )  # fmt: skip
    app.process(topics["clicks"])(recommender)
    app.process(topics["purchases"])(recommender)
    app.service(_catalog_service(app, topics["items"], items, catalog_ready))
    app.service(_watch_service(recommender, items, metrics, settings, catalog_ready))
    users.on_recover(_forgetting(latest, users))
    forecasts = LastForecasts()
    web = WebContext(
        app, settings, catalog, items, trends, recommender, inference, metrics, risk, catalog_ready,
        latest, OnDemand(recommender), forecasts,
    )  # fmt: skip
    fan = Fan(app.outbox, {catalog["forecasts"].kafka_name: forecasts.offer})
    web.taps = Taps(fan, {topic.kafka_name for topic in catalog.values() if topic.role in ("output", "errors")})
    web.replay = _replaying(settings, catalog)
    app.boot_strategy = _Boot(app, web, security)
    return Application(app, settings, catalog, items, recommender, inference, metrics, risk, web)


def _forgetting(latest: LatestLists, users: Table) -> Callable[[], Awaitable[None]]:
    """After a rebalance: forget the lists of partitions that went elsewhere."""

    async def forget() -> None:
        latest.drop(users.shards.values())

    return forget


def _catalog_service(app: Processor, topic: BatchTopic, items: ItemIndex, ready: asyncio.Event) -> type[CatalogReader]:
    """Faust starts service classes; this one knows what it reads."""

    class Reader(CatalogReader):
        def __init__(self, **options: Any) -> None:
            super().__init__(app, topic, items, ready, **options)

    return Reader


def _replaying(settings: Settings, catalog: Catalog) -> Callable[[str], Awaitable[dict[str, Any] | None]] | None:
    """Makes a decision again from its record, for the page of a decision; None where there is no record of it, or one
    is being looked for already: each search reads two topics."""
    if settings.audit_share == 0:
        return None
    busy = asyncio.Lock()

    async def replay(decision_id: str) -> dict[str, Any] | None:
        if busy.locked():
            return None
        async with busy:
            try:
                async with asyncio.timeout(REPLAY_S):
                    work = replay_decision(cluster_of(settings), catalog, decision_id, settings.model)
                    return (await work).as_dict()
            except (UsageError, ModelError, KafkaError, TimeoutError) as error:
                logger.info("decision %s is not made again: %r", decision_id, error)
                return None

    return replay


def _first_model(folder: Path) -> Path | None:
    """The artifact to begin with: the folder itself, or what its store says; None for a store that has none yet."""
    store = ModelStore(folder)
    return store.path("active") if store.is_artifact or store.is_store else folder


def _watch_service(
    recommender: Recommender, items: ItemIndex, metrics: Metrics, settings: Settings, ready: asyncio.Event
) -> type[ModelWatch]:
    """Faust starts service classes; this one knows whose model it keeps."""

    class Watch(ModelWatch):
        def __init__(self, **options: Any) -> None:
            super().__init__(recommender, items, metrics, settings, ready, **options)

    return Watch


class _Boot(BootStrategy):  # type: ignore[misc]
    """Faust starts its own pages here, before the consumer; they show tables to everybody, ours is served instead."""

    def __init__(self, app: Processor, context: WebContext, security: Security) -> None:
        super().__init__(app)
        self._context = context
        self._security = security

    def web_server(self) -> list[WebServer]:
        return [WebServer(self._context, self._security, loop=self.app.loop, beacon=self.app.beacon)]


def _topic(app: Processor, settings: Settings, catalog: Catalog, name: str) -> BatchTopic:
    mine = inputs_of(settings).get(name)
    declared = catalog[name]
    app.topic_configs[declared.kafka_name] = declared.config()
    dialect = dialect_of(settings, declared)
    return app.batch_topic(
        declared.kafka_name, declared.type, partitions=declared.partitions, dialect=dialect,
        lateness_s=mine.lateness_s if mine is not None and name != "items" else None,
        max_ahead_s=mine.max_ahead_s if mine is not None else 3600.0,
        tombstones=declared.cleanup == "compact", max_records=TRADES_BATCH if name == "trades" else MICRO_BATCH,
        lane=LANES.get(name, ""),
    )  # fmt: skip
