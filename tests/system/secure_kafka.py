"""An Apache Kafka that wants TLS and passwords: one listener for each way of speaking."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.system.brokers import Kafka, free_port
from tests.system.certificates import Authority

__all__ = ["PASSWORD", "USER", "SecureKafka"]

USER, PASSWORD = "ann", "correct-horse"


class SecureKafka(Kafka):
    """Ports by protocol: SSL (a client's certificate is needed), SASL_SSL (PLAIN and SCRAM), SASL_PLAINTEXT (SCRAM)."""

    def __init__(self, home: Path, folder: Path) -> None:
        super().__init__(home, folder)
        self.authority = Authority(folder)
        server = self.authority.issue("broker", host="localhost")
        self.ports = {name: free_port() for name in ("SSL", "SASL_SSL", "SASL_PLAINTEXT")}
        lines = self.config.read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines)
        for name, port in self.ports.items():
            settings["listeners"] += f",{name}://127.0.0.1:{port}"
            settings["advertised.listeners"] += f",{name}://127.0.0.1:{port}"
        settings |= {
            "listener.security.protocol.map": ",".join(
                f"{name}:{name if name != 'CONTROLLER' else 'PLAINTEXT'}"
                for name in ("PLAINTEXT", "CONTROLLER", *self.ports)
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.ca),
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        }
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        for name in ("sasl_ssl", "sasl_plaintext"):
            settings[f"listener.name.{name}.scram-sha-256.sasl.jaas.config"] = scram
            settings[f"listener.name.{name}.scram-sha-512.sasl.jaas.config"] = scram
            settings[f"listener.name.{name}.plain.sasl.jaas.config"] = plain
        settings["listener.name.sasl_plaintext.sasl.enabled.mechanisms"] = "SCRAM-SHA-256"
        self.config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self._format_with_user()

    def _format_with_user(self) -> None:
        """Format the log anew, with the user's SCRAM credentials in it."""
        storage = str(self.home / "bin" / "kafka-storage.sh")
        users = [
            text
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for text in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")
        ]
        shutil.rmtree(self.folder / "log")
        cluster = "AAAAAAAAAAAAAAAAAAAAAQ"
        subprocess.run(
            [storage, "format", "-t", cluster, "-c", str(self.config), *users],
            check=True, capture_output=True, env=dict(os.environ, LOG_DIR=str(self.folder / "tool-log")),
        )  # fmt: skip

    def environment(self, protocol: str, mechanism: str | None = None) -> dict[str, str]:
        """The settings of a client that is welcome."""
        env = {"TSREC_BOOTSTRAP": f"127.0.0.1:{self.ports[protocol]}"}
        if protocol.endswith("SSL"):
            env |= {"TSREC_BROKER__TLS": "true", "TSREC_BROKER__TLS_CA": str(self.authority.ca)}
        if mechanism is not None:
            env |= {
                "TSREC_BROKER__SASL_MECHANISM": mechanism, "TSREC_BROKER__SASL_USERNAME": USER,
                "TSREC_BROKER__SASL_PASSWORD": PASSWORD,
            }  # fmt: skip
        return env
