"""GET /models: what answers, and how good it was found to be."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from stream_app.web.api.endpoint import Call, Endpoint
from stream_app.web.context import WebContext
from topics.fields import Label, Time
from tsrec_models.artifacts import ArtifactError, Manifest, read_manifest

__all__ = ["Models"]


class ModelInfo(Struct, frozen=True, omit_defaults=True):
    """One model that answers now. metrics: by split, as its training measured them."""

    role: Literal["recommendation", "rules", "forecast", "credit"]
    name: Label
    version: str
    items: int | None = None
    content_hash: str | None = None
    created_ts: Time | None = None
    metrics: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    device: str | None = None


class RungInfo(Struct, frozen=True):
    """A step of the deadline ladder, best first."""

    rung: Label
    fixed_ms: Annotated[float, Meta(description="What an answer costs whatever its size.")] | None
    row_us: Annotated[float, Meta(description="What each list of it costs.")] | None


class ModelsAnswer(Struct, frozen=True):
    """What this worker answers with."""

    models: list[ModelInfo]
    budget_ms: float
    ladder: list[RungInfo]


class Models:
    """The route."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._manifest: tuple[str, Manifest | None] | None = None

    def endpoints(self) -> list[Endpoint]:
        """Its declaration."""
        return [Endpoint("GET", "/models", "Models that answer now", "models", self.get, ModelsAnswer)]

    async def get(self, _call: Call) -> ModelsAnswer:
        """The models of this worker, and what each rung of the ladder takes."""
        context = self._context
        found = []
        live = context.recommender.model
        if live is not None:
            manifest = await self._manifest_of(live.version)
            info = ModelInfo(
                "recommendation", live.model.name, live.version, live.model.n_items, device=context.settings.device
            )
            if manifest is not None:
                info = ModelInfo(
                    info.role, info.name, info.version, info.items, manifest.content_hash, manifest.created,
                    manifest.metrics, manifest.settings, info.device,
                )  # fmt: skip
            found.append(info)
        rules = context.trends.rules
        found.append(ModelInfo("rules", "rules", "rules", rules.n_items, settings=vars(rules.settings).copy()))
        models = context.risk.market.bar_models
        found.append(ModelInfo("forecast", "arima", f"arima{models.order}", settings=_plain(vars(models.settings))))
        if context.risk.credit is not None:
            found.append(ModelInfo("credit", "credit", context.risk.credit.version))
        ladder = context.recommender.ladder
        return ModelsAnswer(
            found, ladder.budget_s * 1e3, [RungInfo(rung, *_cost(ladder.cost(rung))) for rung in ladder.rungs]
        )

    async def _manifest_of(self, version: str) -> Manifest | None:
        """The manifest of the model that answers; None if the folder holds another by now."""
        if self._manifest is None or self._manifest[0] != version:
            folder = self._context.settings.model
            manifest = None
            if folder is not None:
                try:
                    manifest = await asyncio.to_thread(read_manifest, folder)
                except ArtifactError:
                    manifest = None  # the folder was removed; what was loaded from it still answers
            self._manifest = version, manifest if manifest is not None and manifest.version == version else None
        return self._manifest[1]


def _cost(cost: tuple[float, float] | None) -> tuple[float | None, float | None]:
    return (None, None) if cost is None else (round(cost[0] * 1e3, 3), round(cost[1] * 1e6, 3))


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
