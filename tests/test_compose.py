"""docker-compose.yml against the settings and commands it names; no Docker daemon is needed, and none is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_app.cli import COMMANDS
from stream_app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_every_command_is_one_of_tsrec(services: dict[str, Any]) -> None:
    ours = {name: service for name, service in services.items() if service.get("build") == "."}
    assert ours.keys() == {"topics", "worker"}
    assert all(service["command"][0] in COMMANDS for service in ours.values())


def test_every_setting_exists_and_takes_its_value(services: dict[str, Any]) -> None:
    for service in services.values():
        ours = {k: v for k, v in service.get("environment", {}).items() if k.startswith("TSREC_")}
        given = {name.removeprefix("TSREC_").lower(): value for name, value in ours.items()}
        assert given.keys() <= Settings.model_fields.keys()
        Settings(_env_file=None, **given)  # type: ignore[call-arg]


def test_what_is_mounted_from_the_project_is_there(services: dict[str, Any]) -> None:
    mounts = [volume for service in services.values() for volume in service.get("volumes", ()) if volume[0] == "."]
    assert mounts
    assert all((ROOT / mount.split(":")[0]).exists() for mount in mounts)


def test_the_worker_has_time_to_end(services: dict[str, Any]) -> None:
    grace_s = float(services["worker"]["stop_grace_period"].rstrip("s"))
    assert grace_s > Settings(_env_file=None).shutdown_timeout_s  # type: ignore[call-arg]
