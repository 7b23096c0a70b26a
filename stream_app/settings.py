"""Every setting of the processor, from the environment (`TSREC_…`), a `.env` file or a TOML file, checked at start."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from stream_app.errors import UsageError

__all__ = [
    "AlertSettings",
    "BrokerSettings",
    "CreditSettings",
    "DemandSettings",
    "FilterSettings",
    "FraudSettings",
    "LadderSettings",
    "MarketRiskSettings",
    "PortfolioSettings",
    "Settings",
    "SurveillanceSettings",
    "TopicSettings",
    "TrialSettings",
    "TriggerSettings",
    "load",
]

Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class TopicSettings(BaseModel):
    """How one input topic differs from the contract."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, description="Name on the broker, if it is not the contract's.")
    fields: dict[str, str] = Field({}, description="Contract field -> name of the field in your records.")
    values: dict[str, dict[str, str]] = Field(
        {}, description="Contract field -> {your value: the contract's}, such as action -> {pv: view}."
    )
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = Field("s", description="Unit of the time field.")
    numeric_ids: bool = Field(False, description="Ids come as JSON integers.")
    lateness_s: Seconds = Field(
        3600.0, description="An event this much older than the newest of its partition is late and goes to late-events."
    )
    max_ahead_s: Seconds = Field(
        3600.0,
        description="An event time this much ahead of its record's timestamp is a mistake and goes to dead-letters.",
    )


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


class BrokerSettings(BaseModel):
    """TLS and SASL to the broker, of the worker and of every command."""

    model_config = ConfigDict(extra="forbid")

    tls: bool = Field(False, description="Speak TLS with the broker.")
    tls_ca: Path | None = Field(None, description="Who signed the broker's certificate (PEM); else the system's.")
    tls_cert: Path | None = Field(None, description="This client's certificate (PEM), where the broker wants one.")
    tls_key: Path | None = Field(None, description="Its private key (PEM); without it the certificate's file has it.")
    tls_key_password: SecretStr | None = Field(None, description="Password of that key.")
    tls_check_hostname: bool = Field(True, description="The broker's certificate must be for the host asked.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="How the broker asks for a user and password; without one it does not."
    )
    sasl_username: str | None = Field(None, description="User on the broker.")
    sasl_password: SecretStr | None = Field(None, description="The user's password.")
    sasl_password_file: Path | None = Field(None, description="File with that password, instead.")

    @model_validator(mode="after")
    def _fits_together(self) -> BrokerSettings:
        if not self.tls and (self.tls_ca or self.tls_cert or self.tls_key):
            raise ValueError("certificates are given, but TLS=true is not")
        if self.tls_key and not self.tls_cert:
            raise ValueError("TLS_KEY needs TLS_CERT")
        if self.sasl_mechanism is None and (self.sasl_username or self.sasl_password or self.sasl_password_file):
            raise ValueError(
                "a user or password is given, but SASL_MECHANISM (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512) is not"
            )
        if self.sasl_mechanism is not None and not self.sasl_username:
            raise ValueError("SASL_MECHANISM needs SASL_USERNAME")
        if self.sasl_mechanism is not None and (self.sasl_password is None) == (self.sasl_password_file is None):
            raise ValueError("SASL_MECHANISM needs either SASL_PASSWORD or SASL_PASSWORD_FILE")
        return self


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


class Settings(BaseSettings):
    """Nested settings take a double underscore: TSREC_CLICKS__FIELDS__USER_ID=visitorid."""

    model_config = SettingsConfigDict(env_prefix="TSREC_", env_nested_delimiter="__", env_file=".env", extra="forbid")

    # Broker
    bootstrap: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, comma separated.")
    broker: BrokerSettings = Field(default_factory=BrokerSettings, description="TLS and SASL to the broker.")
    group: str = Field("tsrec", description="Consumer group; also the prefix of changelogs and transactional ids.")
    guarantee: Literal["at_least_once", "exactly_once"] = Field("at_least_once", description="Delivery guarantee.")
    topic_prefix: str = Field("", description="Put before every topic name of the contract.")
    partitions: Annotated[int, Field(ge=1)] = Field(
        4,
        description="Partitions of every keyed topic: as many as there will be workers; each costs a batch a fetch.",
    )
    replication: Annotated[int, Field(ge=1)] = Field(1, description="Replicas of topics that tsrec creates.")
    session_timeout_s: Positive = Field(
        10.0, description="A worker silent this long loses its partitions; 6 with the embedded broker."
    )
    offset_reset: Literal["earliest", "latest"] = Field("earliest", description="Where a new group begins.")
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = Field(None, description="Codec of what is sent.")
    fetch_bytes: Annotated[int, Field(ge=1024)] = Field(1 << 20, description="Most bytes a fetch of one partition.")
    fetch_pace_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        8.0,
        description="After an answer with little data the next fetch waits so long: what comes meanwhile is one batch. "
        "Less is lower latency for more CPU.",
    )
    fetch_wait_ms: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Longest that the broker holds a fetch for which it has nothing; without it 500, and 20 with the "
        "embedded broker, which looks for news only twice in this time.",
    )
    batch_bytes: Annotated[int, Field(ge=1024)] = Field(512 << 10, description="Largest record batch sent.")
    checkpoint_interval_s: Positive = Field(1.0, description="Between two checkpoints.")
    shutdown_timeout_s: Positive = Field(
        10.0, description="After SIGTERM the worker ends within this time, also with the broker down."
    )
    standby_replicas: Annotated[int, Field(ge=0)] = Field(0, description="Warm copies of state on other workers.")

    # What flows
    clicks: TopicSettings = Field(default_factory=TopicSettings, description="Topic `clicks`.")
    purchases: TopicSettings = Field(default_factory=TopicSettings, description="Topic `purchases`.")
    trades: TopicSettings = Field(
        default_factory=lambda: TopicSettings(lateness_s=60.0, max_ahead_s=60.0), description="Topic `trades`."
    )
    items: TopicSettings = Field(default_factory=TopicSettings, description="Topic `items`.")
    credit_applications: TopicSettings = Field(
        default_factory=TopicSettings, description="Topic `credit-applications`."
    )
    card_transactions: TopicSettings = Field(default_factory=TopicSettings, description="Topic `card-transactions`.")
    fraud_labels: TopicSettings = Field(
        default_factory=lambda: TopicSettings(lateness_s=90 * 86_400.0), description="Topic `fraud-labels`."
    )

    # Recommendations
    k: Annotated[int, Field(ge=1, le=100)] = Field(10, description="Items in a recommendation.")
    model: Path | None = Field(
        None,
        description="Folder of the trained artifact, or of a store of them (`tsrec model`), followed while the worker "
        "runs; without one the rules answer.",
    )
    exclude_seen: bool = Field(True, description="Never recommend what the user has lately seen or bought.")
    category_cap: Annotated[int, Field(ge=0)] = Field(
        0, description="At most so many items of one category in a list; 0: no cap."
    )
    filters: FilterSettings = Field(default_factory=FilterSettings, description="What leaves a list.")
    trial: TrialSettings = Field(default_factory=TrialSettings, description="Change and trial of models.")
    new_items: bool = Field(
        True, description="The model scores items of the catalog that it was not trained on by their features."
    )
    audit_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Share of decisions whose inputs go to decision-records, for `tsrec replay-decision`."
    )
    hidden_width: Annotated[int, Field(ge=1)] = Field(
        66, description="Floats a user's row has for the model's state; part of the changelog's schema."
    )
    core: int | None = Field(
        None,
        ge=0,
        description="The core that a worker's threads keep to: lower latency, less throughput. Process i of several "
        "keeps to the i-th core after it.",
    )
    device: str = Field("auto", description="Where the neural model runs: auto, cpu, cuda, cuda:1, …")
    trigger: TriggerSettings = Field(default_factory=TriggerSettings, description="When a recommendation is made.")
    ladder: LadderSettings = Field(default_factory=LadderSettings, description="The deadline ladder.")
    profile_retention_days: Positive = Field(30.0, description="A user's row goes after this long without an event.")

    demand: DemandSettings = Field(default_factory=DemandSettings, description="How often items will be bought.")

    # Risk
    market: MarketRiskSettings = Field(default_factory=MarketRiskSettings, description="Bars, forecasts and alarms.")
    portfolio: PortfolioSettings = Field(
        default_factory=PortfolioSettings, description="Tail risk of what accounts hold."
    )
    surveillance: SurveillanceSettings = Field(
        default_factory=SurveillanceSettings, description="The watch over markets and accounts."
    )
    alerts: AlertSettings = Field(default_factory=AlertSettings, description="What people hear of.")
    credit: CreditSettings = Field(default_factory=CreditSettings, description="Answers to applications for credit.")
    fraud: FraudSettings = Field(default_factory=FraudSettings, description="Card payments.")

    # Serving
    web_host: str = Field(
        "127.0.0.1", description="Address of the API, the live page and /metrics; outside loopback a token is needed."
    )
    web_port: Annotated[int, Field(ge=0, le=65_535)] = Field(6066, description="Their port; 0: any free one.")
    web_token: SecretStr | None = Field(None, description="Bearer token that every request must bring.")
    web_token_file: Path | None = Field(None, description="File with that token, instead.")
    web_tls_cert: Path | None = Field(None, description="Certificate chain (PEM); with it the server speaks TLS only.")
    web_tls_key: Path | None = Field(None, description="Its private key (PEM).")
    web_tls_ca: Path | None = Field(
        None, description="Who signed the workers' certificates (PEM), for requests passed on; else the system's."
    )
    web_advertise: str | None = Field(
        None, description="URL under which the other workers reach this one; else made of host and port."
    )
    web_rate: Seconds = Field(2000.0, description="Requests a second of one client address; 0: no limit.")
    web_body_bytes: Annotated[int, Field(ge=1024)] = Field(64 << 10, description="Largest body of a request.")
    web_timeout_s: Positive = Field(10.0, description="A request is received and answered in this time, or refused.")
    web_connections: Annotated[int, Field(ge=2)] = Field(
        512, description="Open connections at most; one client address has half of them at most."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Of the worker's log.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, that over `.env`, that over the TOML file."""
        return init_settings, env_settings, DotEnv(settings_cls), TomlConfigSettingsSource(settings_cls, toml_path())


#: Names of settings whose values are never shown have one of these in them.
_SECRET = ("token", "password", "secret")

#: Names another TOML file than ./tsrec.toml.
CONFIG_VARIABLE = "TSREC_CONFIG"


class DotEnv(DotEnvSettingsSource):
    """`.env` may hold what other programs want; only a name of ours that is no setting is a mistake."""

    def __call__(self) -> dict[str, Any]:
        prefix = self.env_prefix.lower()
        return {
            name.removeprefix(prefix): value
            for name, value in super().__call__().items()
            if name in self.settings_cls.model_fields or name.startswith(prefix)
        }


def toml_path() -> Path:
    """The TOML file: what TSREC_CONFIG names, else ./tsrec.toml, which need not be there.

    Raises:
        UsageError: TSREC_CONFIG names a file that is not there.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).is_file():
        raise UsageError(f"{CONFIG_VARIABLE} names {named}, which is no file")
    return Path(named or "tsrec.toml")


def load(**overrides: Any) -> Settings:
    """The settings, with `overrides` on top.

    Raises:
        UsageError: one line a mistake: which setting, where it was given, what it was, what it may be.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        from stream_app.setting_sources import mistake

        secret = [any(word in "__".join(map(str, e["loc"])).lower() for word in _SECRET) for e in error.errors()]
        raise UsageError(
            "; ".join(mistake(e, overrides, hide=hide) for e, hide in zip(error.errors(), secret, strict=True))
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{toml_path()} is not TOML: {error}") from error
    except SettingsError as error:
        # The cause may quote the value, and the value may be a secret.
        raise UsageError(f"{str(error).rstrip('.')}: a setting of several values is JSON there") from error
