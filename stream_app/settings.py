"""Every setting of the processor, from the environment (`TSREC_…`), a `.env` file or a TOML file, checked at start."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from stream_app.errors import UsageError
from stream_app.settings_risk import (
    AlertSettings,
    CreditSettings,
    FraudSettings,
    MarketRiskSettings,
    PortfolioSettings,
    SurveillanceSettings,
)
from stream_app.settings_shop import DemandSettings, FilterSettings, LadderSettings, TrialSettings, TriggerSettings
from stream_app.settings_topics import BrokerSettings, TopicSettings
from stream_app.settings_units import Positive, Seconds

__all__ = ["Settings", "load"]


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
    from stream_app.contract import check_dialects

    try:
        settings = Settings(**overrides)
        check_dialects(settings)
        return settings
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
