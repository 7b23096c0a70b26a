"""The broker of docker-compose.yml: a real Kafka takes the configuration that its image would make of the variables."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.system.brokers import free_port, kafka_home, wait_for_port

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.system, pytest.mark.kafka]


def properties(environment: dict[str, str]) -> dict[str, str]:
    """KAFKA_LOG_DIRS -> log.dirs, as the official image does; the heap is Java's."""
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
        if name != "KAFKA_HEAP_OPTS"
    }


def test_a_real_broker_starts_with_it_and_passes_its_health_check(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    home = kafka_home()
    if home is None:
        pytest.skip("no Apache Kafka: set KAFKA_HOME")
    service: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["kafka"]
    config = properties(service["environment"])
    assert config["log.dirs"] in [mount.split(":")[1] for mount in service["volumes"]]
    # The same on ports and in a folder of this machine.
    ports = {name: str(free_port()) for name in ("9092", "9093", "29092")}
    for name, value in config.items():
        for theirs, mine in ports.items():
            value = value.replace(f"//:{theirs}", f"//127.0.0.1:{mine}").replace(f"kafka:{theirs}", f"127.0.0.1:{mine}")
            value = value.replace(f"127.0.0.1:{theirs}", f"127.0.0.1:{mine}")
        config[name] = value
    config["log.dirs"] = str(tmp_path / "data")
    path = tmp_path / "server.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in config.items()))
    env = dict(os.environ, KAFKA_HEAP_OPTS="-Xmx512m", LOG_DIR=str(tmp_path / "log"))
    storage = [str(home / "bin" / "kafka-storage.sh")]
    uuid = subprocess.run([*storage, "random-uuid"], check=True, capture_output=True, text=True, env=env).stdout.split()
    subprocess.run([*storage, "format", "-t", uuid[-1], "-c", str(path)], check=True, capture_output=True, env=env)
    with (tmp_path / "broker.log").open("wb") as log:
        broker = subprocess.Popen(
            [str(home / "bin" / "kafka-server-start.sh"), str(path)], stdout=log, stderr=log, env=env
        )
    try:
        for port in ("9092", "29092"):
            wait_for_port(int(ports[port]), 60, broker)
        command = [
            part.replace("localhost:9092", f"127.0.0.1:{ports['9092']}") for part in service["healthcheck"]["test"]
        ]
        assert command[1].startswith("/opt/kafka/bin/")
        program = home / "bin" / command[1].removeprefix("/opt/kafka/bin/")
        subprocess.run([str(program), *command[2:]], check=True, capture_output=True, timeout=60, env=env)
    finally:
        broker.terminate()
        broker.wait(30)
    assert "not a known config" not in (tmp_path / "broker.log").read_text()
