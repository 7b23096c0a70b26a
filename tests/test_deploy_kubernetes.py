"""The manifests against the schemas of Kubernetes, the settings, the image, and each other; no cluster is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stream_app.cli import COMMANDS
from stream_app.settings import Settings
from stream_app.web.health import Health
from tests.test_monitoring_queries import asked, labels_of_recorded

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")


def manifests(name: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all((FOLDER / name).read_text()) if found]


EVERY = [pytest.param(found, id=f"{name}-{found['kind']}") for name in FILES for found in manifests(name)]


def one(kind: str, name: str | None = None) -> dict[str, Any]:
    (found,) = [
        m for file in FILES for m in manifests(file) if m["kind"] == kind and name in (None, m["metadata"]["name"])
    ]
    return found


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def worker() -> dict[str, Any]:
    (container,) = pod_of(one("Deployment"))["containers"]
    return dict(container)


@pytest.fixture(scope="module")
def settings() -> Settings:
    given = {name.removeprefix("TSREC_").lower(): value for name, value in one("ConfigMap")["data"].items()}
    assert given.keys() <= Settings.model_fields.keys()
    return Settings(_env_file=None, **given)


@pytest.mark.parametrize("manifest", EVERY)
def test_the_schemas_of_the_last_versions_take_it(manifest: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    latest = validate.latest_version()
    major, minor = map(int, latest.split(".")[:2])
    for version in (f"{major}.{minor}", f"{major}.{minor - 3}"):
        validate.validate(manifest, version, strict=True)


def test_a_mistake_in_a_manifest_is_found() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    broken = one("Deployment")
    broken["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(broken, validate.latest_version(), strict=True)


def test_the_kustomization_has_every_manifest_but_the_example_of_a_secret() -> None:
    found = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert sorted(found["resources"]) == [name for name in FILES if name != "secret.example.yaml"]
    (image,) = found["images"]
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version is not None
    assert image["newTag"] == version[1]
    used = {c["image"] for m in (one("Deployment"), one("Job")) for c in [
        *pod_of(m).get("initContainers", ()), *pod_of(m)["containers"]
    ]}  # fmt: skip
    assert used == {image["name"]}


@pytest.mark.parametrize("manifest", EVERY)
def test_everything_is_in_the_one_namespace(manifest: dict[str, Any]) -> None:
    namespace = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["namespace"]
    metadata = manifest["metadata"]
    assert (metadata["name"] if manifest["kind"] == "Namespace" else metadata["namespace"]) == namespace


def test_every_setting_exists_and_takes_its_value(settings: Settings, worker: dict[str, Any]) -> None:
    assert settings.guarantee == "exactly_once"
    own = {entry["name"] for entry in worker["env"]} - {"POD_IP"}
    assert {name.removeprefix("TSREC_").lower() for name in own} <= Settings.model_fields.keys()
    for manifest in (one("Deployment"), one("Job")):
        for container in pod_of(manifest)["containers"]:
            assert container["envFrom"] == [{"configMapRef": {"name": one("ConfigMap")["metadata"]["name"]}}]
            assert container["args"][0] in COMMANDS


def test_ports_are_those_of_the_settings(settings: Settings, worker: dict[str, Any]) -> None:
    (port,) = worker["ports"]
    assert port["containerPort"] == settings.web_port
    for service in (one("Service", "tsrec"), one("Service", "tsrec-workers")):
        assert [entry["targetPort"] for entry in service["spec"]["ports"]] == [port["name"]]
    (advertised,) = [entry["value"] for entry in worker["env"] if entry["name"] == "TSREC_WEB_ADVERTISE"]
    assert advertised == f"http://$(POD_IP):{settings.web_port}"
    rules = [p["port"] for rule in one("NetworkPolicy")["spec"]["ingress"] for p in rule["ports"]]
    assert rules == [settings.web_port]


def test_probes_ask_pages_that_are_there_without_a_token(worker: dict[str, Any]) -> None:
    from stream_app.web.guard import OPEN_PATHS

    paths = {route.path for route in Health(None).routes()}  # type: ignore[arg-type, attr-defined]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked_of = worker[probe]["httpGet"]
        assert asked_of["path"] in paths & OPEN_PATHS
        assert asked_of["port"] == worker["ports"][0]["name"]
    assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz", "a pod that recovers must not be killed for it"
    assert worker["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_a_first_start_may_compile_kernels(worker: dict[str, Any]) -> None:
    probe = worker["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 300


def test_a_worker_has_time_to_leave_its_group(settings: Settings) -> None:
    assert pod_of(one("Deployment"))["terminationGracePeriodSeconds"] > settings.shutdown_timeout_s


def test_there_are_never_more_workers_than_partitions(settings: Settings) -> None:
    scaler = one("HorizontalPodAutoscaler")["spec"]
    assert scaler["maxReplicas"] == settings.partitions
    assert scaler["minReplicas"] > settings.standby_replicas >= 1, "a standby is somewhere else"
    assert "replicas" not in one("Deployment")["spec"], "or every apply undoes the autoscaler"
    assert scaler["scaleTargetRef"]["name"] == one("Deployment")["metadata"]["name"]


def test_the_autoscaler_asks_for_what_the_adapter_makes_of_a_recorded_series() -> None:
    (metric,) = one("HorizontalPodAutoscaler")["spec"]["metrics"]
    (rule,) = yaml.safe_load((ROOT / "deploy" / "prometheus" / "adapter.yml").read_text())["externalRules"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"] in labels_of_recorded()
    assert asked(rule["metricsQuery"])[0] == {rule["seriesQuery"]}


def test_everything_selects_the_pods_that_there_are() -> None:
    deployment = one("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    selectors = [
        one("Service", "tsrec")["spec"]["selector"], one("Service", "tsrec-workers")["spec"]["selector"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]  # fmt: skip
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    jobs = one("Job")["spec"]["template"]["metadata"]["labels"]
    assert not selectors[0].items() <= jobs.items(), "the job that makes topics serves nobody"
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus" / "kubernetes.yml").read_text())["scrape_configs"][0]
    keep = scrape["relabel_configs"][0]["regex"]
    assert keep == f"{labels['app.kubernetes.io/name']};{labels['app.kubernetes.io/component']}"


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_keep_to_the_restricted_standard_and_a_read_only_root(kind: str) -> None:
    pod = pod_of(one(kind))
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (uid,) = re.findall(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert pod["securityContext"]["runAsUser"] == int(uid)
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"].keys() == {"memory"}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        for mount in container["volumeMounts"]:
            assert mount["name"] in [volume["name"] for volume in pod["volumes"]]


def test_the_folders_that_are_written_to_are_volumes_and_kernels_come_from_the_image(worker: dict[str, Any]) -> None:
    (cache,) = re.findall(r"NUMBA_CACHE_DIR=(\S+)", (ROOT / "Dockerfile").read_text())
    mounts = {mount["mountPath"]: mount["name"] for mount in worker["volumeMounts"]}
    assert "/tmp" in mounts
    (init,) = pod_of(one("Deployment"))["initContainers"]
    assert init["command"][2] == f"{cache}/."
    (target,) = [m for m in init["volumeMounts"] if init["command"][3].rstrip("/") == m["mountPath"]]
    assert mounts[cache] == target["name"]


def test_the_token_is_where_the_settings_look_for_it(settings: Settings, worker: dict[str, Any]) -> None:
    (volume,) = [v for v in pod_of(one("Deployment"))["volumes"] if "secret" in v]
    (mount,) = [m for m in worker["volumeMounts"] if m["name"] == volume["name"]]
    (item,) = volume["secret"]["items"]
    assert settings.web_token_file == Path(mount["mountPath"]) / item["path"]
    secret = one("Secret")
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    assert item["key"] in secret["stringData"]


def test_workers_may_reach_the_broker_and_each_other(settings: Settings) -> None:
    allowed = [
        (p["port"], to.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name"))
        for rule in one("NetworkPolicy")["spec"]["egress"]
        for to in rule["to"]
        for p in rule["ports"]
    ]
    host, port = settings.bootstrap.split(":")
    assert (int(port), host.split(".")[1]) in allowed
    assert (settings.web_port, None) in allowed
    assert (53, "kube-system") in allowed
