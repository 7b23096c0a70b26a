"""Settings of one input topic, and of the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from stream_app.settings_units import Seconds

__all__ = ["BrokerSettings", "TopicSettings"]


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
