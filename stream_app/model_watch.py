"""Follows the model's folder while the stream runs: swaps, trials, new items, blocked items. Nobody waits for it.

A model is loaded and tried in a thread of its own and put in place between two turns of the event loop. Batches that
are under way end with the model they began with; users come to the new one with their next event, when their state is
encoded from their last items, a batch of users at a time.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
from mode import Service

from stream_app.agents.recommendations import Recommender
from stream_app.errors import TsrecError
from stream_app.items import ItemIndex
from stream_app.metrics import Metrics
from stream_app.model_store import ModelStore, Role
from stream_app.models import LiveModel, check_width
from stream_app.settings import Settings
from topics.spans import Spans
from tsrec_models.artifacts import Artifact, load_artifact
from tsrec_models.base import ModelError

__all__ = ["ModelWatch"]

logger = logging.getLogger(__name__)

#: Users in the rehearsal of a model: as many as a step takes at once.
_REHEARSED = 256

#: The catalog is looked at for new items at most this often: a bulk load changes it many times a second.
_CATALOG_S = 2.0


class ModelWatch(Service):  # type: ignore[misc]
    """Keeps a recommender's model, its trial and its new items as the files say."""

    def __init__(self, recommender: Recommender, items: ItemIndex, metrics: Metrics, settings: Settings,
                 catalog_ready: asyncio.Event, **options: Any) -> None:  # fmt: skip
        super().__init__(**options)
        self.recommender = recommender
        self.items = items
        self.metrics = metrics
        self.settings = settings
        self.catalog_ready = catalog_ready
        self.store = ModelStore(settings.model) if settings.model is not None else None
        # What stood there when the application was put together has been loaded then.
        self._marks: dict[Role, tuple[object, ...]] = {}
        if self.store is not None:
            self._marks["active"] = self.store.mark("active")
        self._blocked_mark: tuple[object, ...] | None = None
        self._described: dict[str, int] = {}

    @Service.task
    async def _follow(self) -> None:
        next_catalog = 0.0
        while not self.should_stop:
            await self.look()
            now = asyncio.get_running_loop().time()
            if self.settings.new_items and self.catalog_ready.is_set() and now >= next_catalog:
                await self.describe_new_items()
                next_catalog = asyncio.get_running_loop().time() + _CATALOG_S
            await self.sleep(self.settings.trial.poll_s)

    async def look(self) -> None:
        """Take up what changed since the last look; what cannot be taken up is said, and all stays as it was."""
        await self._look_at_blocked()
        if self.store is None:
            return
        for role in ("active", "shadow"):
            mark = self.store.mark(role)
            if mark != self._marks.get(role, ()):
                self._marks[role] = mark
                await self._take(role)

    async def _take(self, role: Role) -> None:
        assert self.store is not None
        try:
            path = self.store.path(role)
            if path is None:
                if role == "shadow":
                    self._set(role, None)
                return
            artifact = await asyncio.to_thread(self._load, path)
        except (TsrecError, ModelError, OSError) as error:
            self.metrics.model_changes.labels("refused").inc()
            now = self.recommender.model if role == "active" else self.recommender.shadow
            logger.error("model refused, %s goes on: %s", "none" if now is None else now.version, error)
            return
        current = self.recommender.model
        if role == "active" and current is not None and current.version == artifact.manifest.version:
            return
        self._set(role, LiveModel(artifact, self.items))

    def _load(self, path: Path) -> Artifact:
        """In a thread: load and rehearse, so that no kernel is compiled and no page touched first in the stream."""
        artifact = load_artifact(path, device=self.settings.device)
        check_width(artifact, path, self.settings.hidden_width)
        model: Any = artifact.model
        for n in (1, _REHEARSED):
            history = np.arange(min(8, model.n_items))
            stamps = 1e9 + np.arange(len(history))
            state = model.encode([history] * n, [stamps] * n)
            state = model.step(state, np.zeros(n, np.int64), np.full(n, 2e9))
            model.topk(state, min(10, model.n_items), [history] * n)
        return artifact

    def _set(self, role: Role, model: LiveModel | None) -> None:
        """In the event loop, between two batches' turns."""
        recommender, metrics = self.recommender, self.metrics
        if role == "active":
            before = recommender.model
            recommender.model = model
            for gauge in (metrics.model, metrics.model_created):
                if before is not None:
                    gauge.remove(before.model.name, before.version)
            if model is not None:
                metrics.model.labels(model.model.name, model.version).set(1)
                metrics.model_created.labels(model.model.name, model.version).set(model.created)
        else:
            before = recommender.shadow
            recommender.shadow = model
            if before is not None:
                metrics.trial_info.remove(before.version)
            if model is not None:
                metrics.trial_info.labels(model.version).set(1)
        metrics.model_changes.labels("taken").inc()
        logger.info(
            "%s model: %s after %s", role, "none" if model is None else model.version,
            "none" if before is None else before.version,
        )  # fmt: skip

    async def _look_at_blocked(self) -> None:
        filters = self.settings.filters
        file = filters.blocked_file
        mark: tuple[object, ...] = ()
        if file is not None:
            try:
                stat = file.stat()
                mark = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            except FileNotFoundError:
                mark = ()
        if mark == self._blocked_mark:
            return
        ids = list(filters.blocked)
        if file is not None and mark:
            try:
                ids += [line.strip() for line in (await asyncio.to_thread(file.read_text)).splitlines() if line.strip()]
            except (OSError, ValueError) as error:
                logger.error("blocked items stay as they were: %s: %s", file, error)
                return
        self._blocked_mark = mark
        self.items.block(Spans.of([name.encode() for name in ids]))
        if ids or file is not None:
            logger.info("%d items are blocked", len(ids))

    async def describe_new_items(self) -> None:
        """Give the models vectors of items that came into the catalog after they were trained."""
        for live in (self.recommender.model, self.recommender.shadow):
            if live is None or self._described.get(live.version) == self.items.changes:
                continue
            changes = self.items.changes
            work = live.describe()
            try:
                live.content, live.new_items = await asyncio.to_thread(work)
            except (ModelError, np.linalg.LinAlgError) as error:
                logger.warning("new items are not scored by %s: %s", live.version, error)
            self._described = {version: n for version, n in self._described.items() if version != live.version}
            self._described[live.version] = changes
