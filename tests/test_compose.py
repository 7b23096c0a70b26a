"""docker-compose.yml against the settings, commands, ports and files it names; no Docker daemon is needed or used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream_app.cli import COMMANDS
from stream_app.settings import Settings
from stream_app.web.health import Health

ROOT = Path(__file__).resolve().parents[1]

#: Every image from elsewhere, as it is pinned; a change of one is a decision, so it is written twice.
IMAGES = {
    "kafka": "apache/kafka:4.3.1",
    "prometheus": "prom/prometheus:v3.5.0",
    "alertmanager": "prom/alertmanager:v0.28.1",
    "grafana": "grafana/grafana:12.4.0",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


@pytest.fixture(scope="module")
def ours(services: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if "build" in service}


def settings_of(service: dict[str, Any]) -> Settings:
    """The settings that a service is given, over those of the image; what does not exist or fit raises."""
    image = dict(re.findall(r"(TSREC_\w+)=(\S+)", (ROOT / "Dockerfile").read_text().split("AS cuda")[0]))
    given = image | {k: v for k, v in service["environment"].items() if k.startswith("TSREC_")}
    assert "" not in given.values()
    values: dict[str, Any] = {}
    for name, value in given.items():
        *path, last = name.removeprefix("TSREC_").lower().split("__")
        place = values
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return Settings(_env_file=None, **values)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_every_image_is_pinned(services: dict[str, Any], ours: dict[str, Any]) -> None:
    assert {name: service["image"] for name, service in services.items() if name not in ours} == IMAGES
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version is not None
    assert {service["image"] for service in ours.values()} == {f"tsrec:{version[1]}"}


def test_our_services_run_a_command_of_tsrec_from_a_target_of_the_dockerfile(ours: dict[str, Any]) -> None:
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert ours.keys() == {"topics", "worker"}
    for service in ours.values():
        assert service["command"][0] in COMMANDS
        assert service["build"]["target"] in targets
        assert (ROOT / service["build"]["context"] / "Dockerfile").exists()


def test_every_setting_exists_and_takes_its_value(ours: dict[str, Any], compose: dict[str, Any]) -> None:
    for service in ours.values():
        settings = settings_of(service)
        assert settings.bootstrap == "kafka:9092"
    worker = settings_of(ours["worker"])
    assert worker.guarantee == "exactly_once"
    assert worker.partitions == settings_of(ours["topics"]).partitions
    # What stands there commented out is a setting, too.
    hints = re.findall(r"# (TSREC_\w+): ", (ROOT / "docker-compose.yml").read_text())
    assert {name.removeprefix("TSREC_").lower() for name in hints} <= Settings.model_fields.keys()


def test_a_worker_that_is_reached_from_outside_has_a_token(compose: dict[str, Any], ours: dict[str, Any]) -> None:
    worker = settings_of(ours["worker"])
    assert worker.web_host == "0.0.0.0"
    assert worker.web_token_file == Path("/run/secrets/web_token")
    assert "web_token" in ours["worker"]["secrets"]
    assert "web_token" in compose["services"]["prometheus"]["secrets"], "or nothing can be scraped"
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= compose["secrets"].keys()


def test_what_is_mounted_is_there(compose: dict[str, Any], services: dict[str, Any]) -> None:
    named = set()
    for service in services.values():
        for mount in service.get("volumes", ()):
            source, target, *mode = mount.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).exists(), source
                assert mode == ["ro"], f"{source} belongs to the project"
            else:
                named.add(source)
    assert named == compose["volumes"].keys()


def test_secrets_are_made_as_the_file_says_and_never_committed(compose: dict[str, Any]) -> None:
    head = (ROOT / "docker-compose.yml").read_text().split("name:")[0]
    for secret in compose["secrets"].values():
        assert secret["file"].removeprefix("./") in head
        assert secret["file"].startswith("./deploy/secrets/")
    assert "secrets/" in (ROOT / "deploy" / ".gitignore").read_text().split()


def test_workers_can_be_scaled_to_one_a_partition_without_a_collision_of_ports(ours: dict[str, Any]) -> None:
    worker = ours["worker"]
    assert "container_name" not in worker
    (ports,) = worker["ports"]
    first, last = map(int, ports.split(":")[1].split("-"))
    settings = settings_of(worker)
    assert last - first + 1 == settings.partitions
    assert ports == f"127.0.0.1:{first}-{last}:{settings.web_port}"


def test_nothing_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    hosts = [port.split(":")[1] for port in published]
    assert len(hosts) == len(set(hosts))


def test_prometheus_finds_every_worker_by_name_and_port(services: dict[str, Any], ours: dict[str, Any]) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "tsrec")
    (found,) = job["dns_sd_configs"]
    (name,) = found["names"]
    assert found["port"] == settings_of(services[name]).web_port
    assert job["authorization"]["credentials_file"] == "/run/secrets/web_token"
    (alertmanager,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    name, port = alertmanager.split(":")
    assert f"127.0.0.1:{port}:{port}" in services[name]["ports"]
    mounted = dict(mount.split(":")[:2] for mount in services["prometheus"]["volumes"])
    # rule_files are relative to the configuration.
    assert mounted["./deploy/prometheus/prometheus.yml"] == "/etc/prometheus/prometheus.yml"
    assert mounted["./deploy/prometheus/rules"] == "/etc/prometheus/rules"
    assert config["rule_files"] == ["rules/*.yml"]


def test_each_program_is_told_the_files_that_are_mounted(services: dict[str, Any]) -> None:
    for name in ("prometheus", "alertmanager"):
        targets = [mount.split(":")[1] for mount in services[name]["volumes"]]
        flags = dict(flag.removeprefix("--").split("=", 1) for flag in services[name]["command"])
        assert flags["config.file"] in targets
        assert flags.get("storage.path", flags.get("storage.tsdb.path")) in targets
    targets = [mount.split(":")[1] for mount in services["grafana"]["volumes"]]
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    provider = ROOT / "deploy" / "grafana" / "provisioning" / "dashboards" / "tsrec.yml"
    (dashboards,) = yaml.safe_load(provider.read_text())["providers"]
    assert dashboards["options"]["path"] in targets
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{dashboards['options']['path']}/tsrec.json"
    source = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    (prometheus,) = yaml.safe_load(source.read_text())["datasources"]
    assert prometheus["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in services["prometheus"]["ports"]


def test_every_service_that_stays_is_watched_limited_and_started_again(services: dict[str, Any]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert limits.keys() == {"cpus", "memory"}, name
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["cap_drop"] == ["ALL"]
        if name != "kafka":  # whose image has a user of its own
            assert int(service["user"].split(":")[0]) > 0, f"{name} runs as root"
        if name == "topics":
            assert service["restart"].startswith("on-failure")
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
    assert {name for name, service in services.items() if not service.get("read_only")} == {"kafka"}


def test_the_health_check_asks_a_page_that_is_there(ours: dict[str, Any]) -> None:
    worker = ours["worker"]
    (url,) = re.findall(r"http://[^']+", worker["healthcheck"]["test"][-1])
    paths = [route.path for route in Health(None).routes()]  # type: ignore[arg-type, attr-defined]
    assert url in [f"http://127.0.0.1:{settings_of(worker).web_port}{path}" for path in paths]
    compile(worker["healthcheck"]["test"][-1], "healthcheck", "exec")


def test_things_start_in_their_order(services: dict[str, Any]) -> None:
    assert services["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert services["worker"]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}


def test_the_worker_has_time_to_end(ours: dict[str, Any]) -> None:
    assert seconds(ours["worker"]["stop_grace_period"]) > settings_of(ours["worker"]).shutdown_timeout_s


def test_the_one_folder_that_a_worker_writes_to_is_a_volume(ours: dict[str, Any]) -> None:
    (cache,) = re.findall(r"NUMBA_CACHE_DIR=(\S+)", (ROOT / "Dockerfile").read_text())
    assert f"kernels:{cache}" in ours["worker"]["volumes"]
    assert ours["worker"]["tmpfs"][0].startswith("/tmp:"), "Faust makes its folder below tempfile.gettempdir()"


def test_what_makes_the_topics_needs_no_folder_for_kernels(ours: dict[str, Any]) -> None:
    assert "volumes" not in ours["topics"]
    code = (
        "import sys; from click.testing import CliRunner; from stream_app.commands.topics import command; "
        "assert CliRunner().invoke(command, ['list', '--offline']).exit_code == 0; print('numba' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.stdout.strip() == "False", said.stderr
