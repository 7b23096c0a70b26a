"""Settings of what is recommended: when, by whom, and what leaves a list; demand of items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream_app.settings_units import Positive, Seconds

__all__ = ["DemandSettings", "FilterSettings", "LadderSettings", "TrialSettings", "TriggerSettings"]


class TriggerSettings(BaseModel):
    """When a click or purchase is answered with a recommendation."""

    model_config = ConfigDict(extra="forbid")

    min_interval_s: Seconds = Field(0.0, description="At most one recommendation a user in this time; 0: every event.")
    actions: list[Literal["view", "click", "cart", "favorite", "purchase"]] = Field(
        ["view", "click", "cart", "favorite", "purchase"], description="Events that are answered."
    )


class LadderSettings(BaseModel):
    """The deadline ladder: the best rung that will answer in time."""

    model_config = ConfigDict(extra="forbid")

    budget_ms: Positive = Field(40.0, description="From the arrival of a batch to its decisions.")
    rungs: list[Literal["neural", "rules", "trending"]] = Field(
        ["neural", "rules", "trending"], description="Rungs, best first."
    )


class FilterSettings(BaseModel):
    """What leaves a list, and in which order the rest is shown."""

    model_config = ConfigDict(extra="forbid")

    minimum_score: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="An item scoring less is not shown, and a list is not filled up with what trends; 0: lists are "
        "always full.",
    )
    diversity: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0,
        description="Trade of relevance for variety (MMR), by category or, without categories, by the model; 0: off.",
    )
    calibration: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Trade of relevance for a list as popular or niche as the user's own past; 0: off."
    )
    blocked: list[str] = Field([], description="Items that are never recommended.")
    blocked_file: Path | None = Field(
        None, description="File of such items, one id a line; followed while the worker runs."
    )

    @model_validator(mode="after")
    def _one_order(self) -> FilterSettings:
        if self.diversity > 0 and self.calibration > 0:
            raise ValueError("a list is ordered either for diversity or for calibration, not for both")
        return self


class TrialSettings(BaseModel):
    """Models that change while the stream runs, and a second one tried beside the first."""

    model_config = ConfigDict(extra="forbid")

    poll_s: Positive = Field(1.0, description="How often the model's folder is looked at.")
    share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="Share of users for whom the shadow model is scored beside the live one."
    )
    users: Annotated[int, Field(ge=1)] = Field(20_000, description="Users whose two lists are remembered at most.")


class DemandSettings(BaseModel):
    """Forecasts of how often items will be bought."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(True, description="Count purchases by item and window, and forecast the next window.")
    window_s: Positive = Field(3600.0, description="Width of a window.")
    windows: Annotated[int, Field(ge=40)] = Field(168, description="Past windows that a forecast is made from.")
    items: Annotated[int, Field(ge=1)] = Field(
        200, description="Items of a partition that are forecast, those bought most in the latest windows."
    )
    order: tuple[int, int, int] = Field((0, 1, 1), description="ARIMA order of the stabilised counts.")
    level: Annotated[float, Field(ge=0.5, lt=1)] = Field(0.9, description="Coverage of the intervals.")
