"""Settings of the risk desk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stream_app.settings_units import Positive, Seconds

__all__ = [
    "AlertSettings",
    "CreditSettings",
    "FraudSettings",
    "MarketRiskSettings",
    "PortfolioSettings",
    "SurveillanceSettings",
]


class MarketRiskSettings(BaseModel):
    """Bars, forecasts and alarms by symbol."""

    model_config = ConfigDict(extra="forbid")

    bar_s: Positive = Field(60.0, description="Width of a bar; a forecast is for the next one.")
    bar_lateness_s: Seconds = Field(1.0, description="A bar waits this long for trades out of order.")
    order: tuple[int, int, int] = Field((1, 0, 1), description="ARIMA order of log returns.")
    regressors: tuple[Literal["imbalance", "volume"], ...] = Field(
        (), description="What of the bar before helps to forecast the next: ARIMAX. Order imbalance, change of volume."
    )
    level: Annotated[float, Field(ge=0.5, lt=1)] = Field(0.9, description="Coverage of the intervals.")
    warmup_bars: Annotated[int, Field(ge=20)] = Field(30, description="Bars before anything is forecast of a symbol.")
    refit_bars: Annotated[int, Field(ge=20)] = Field(500, description="Parameters are estimated anew so often.")
    refit_delay_bars: Annotated[int, Field(ge=1)] = Field(
        10, description="New parameters take effect so many bars after they were asked for."
    )
    refit_processes: Annotated[int, Field(ge=0)] = Field(
        1, description="Processes that estimate parameters; 0: the worker does it itself."
    )
    window_bars: Annotated[int, Field(ge=100)] = Field(500, description="Past bars that tail risk is read from.")
    alarms_per_day: Positive = Field(1.0, description="False alarms a symbol and day of innovations and losses.")
    min_move_bps: Seconds = Field(10.0, description="A bar that moved less, in basis points, alarms nobody.")
    backtest_alarm: Positive = Field(
        10_000.0, description="Bars to a false alarm that a model of tail risk understates it."
    )


class PortfolioSettings(BaseModel):
    """Tail risk of what accounts hold."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(True, description="Tell every partition of accounts the bars of the symbols they trade.")
    accounts: Annotated[int, Field(ge=1)] = Field(
        200, description="Accounts of a partition that are looked at each bar, those with the largest positions."
    )
    min_exposure: Seconds = Field(0.0, description="Smallest value of positions that is looked at.")
    var_limit: Positive = Field(
        float("inf"), description="Largest loss an account may face at 99 % within a bar; inf: off."
    )


class SurveillanceSettings(BaseModel):
    """Limits of the watch over markets and accounts; amounts in the currency of price x quantity."""

    model_config = ConfigDict(extra="forbid")

    velocity_limit: Annotated[int, Field(ge=1)] = Field(60, description="Orders of an account within a minute.")
    structuring_limit: Positive = Field(10_000.0, description="The reporting limit that orders stay just below.")
    trade_limit: Positive = Field(float("inf"), description="Largest order an account may send; inf: off.")
    loss_limit: Positive = Field(100_000.0, description="Loss of an account, realised and not.")
    drawdown_limit: Positive = Field(100_000.0, description="Fall of an account's equity from its peak.")
    concentration_exposure: Positive = Field(
        float("inf"), description="Exposure from which one symbol's share of it is watched; inf: off."
    )
    account_retention_days: Positive = Field(
        90.0, description="An account without open positions goes after so long without an order."
    )
    spike_move_bps: Positive = Field(30.0, description="Smallest move within ten seconds that is a spike.")
    large_per_day: Positive = Field(20.0, description="Large orders a symbol and day.")


class AlertSettings(BaseModel):
    """What people hear of, and what follows from it."""

    model_config = ConfigDict(extra="forbid")

    cap_per_kind: Annotated[int, Field(ge=1)] = Field(20, description="New alerts of a kind in a window.")
    cap_total: Annotated[int, Field(ge=1)] = Field(60, description="New alerts of all kinds in a window.")
    cap_critical: Annotated[int, Field(ge=1)] = Field(60, description="Critical ones, counted apart.")
    cap_window_s: Positive = Field(3600.0, description="The window, in event time; by detector and partition.")
    silence_s: Positive = Field(3600.0, description="How long a silence lasts that does not say.")
    review: Annotated[int, Field(ge=1)] = Field(200, description="Alerts that wait for a verdict at most.")
    gate_kinds: list[str] = Field(
        ["velocity", "wash_trade", "structuring", "trade_limit", "loss_limit", "drawdown"],
        description="Kinds whose critical alerts hold promotions back from the user or account; empty: all.",
    )


class CreditSettings(BaseModel):
    """How applications are scored and decided."""

    model_config = ConfigDict(extra="forbid")

    model: Path | None = Field(None, description="Folder of the trained credit model; without one none is scored.")
    approve_below: Annotated[float, Field(ge=0, le=1)] = Field(
        1 / 6, description="Approved below this probability of default: where a default costs five good loans."
    )
    decline_from: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Declined from this probability on; between the two a person decides."
    )
    drift_window: Annotated[int, Field(ge=100, multiple_of=2)] = Field(
        500, description="Applications that are compared with the training data for drift."
    )


class FraudSettings(BaseModel):
    """How card payments are scored and warned of."""

    model_config = ConfigDict(extra="forbid")

    model: Path | None = Field(None, description="Folder of the trained fraud model; without one none is scored.")
    warnings_per_day: Positive = Field(
        20.0, description="Cards warned of a day at most: sets the threshold, from the scores of the 30 days before."
    )
    min_probability: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="No warning below this probability, however few there are."
    )
    retention_days: Positive = Field(90.0, description="A card or merchant goes after so long without a payment.")
    drift_window: Annotated[int, Field(ge=100, multiple_of=2)] = Field(
        2000, description="Payments that are compared with the training data for drift."
    )
