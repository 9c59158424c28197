"""The manifests in deploy/kubernetes agree with the settings."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork import __version__
from groundwork.core.config import Settings

CHECKOUT = Path(__file__).parents[1]
FOLDER = CHECKOUT / "deploy/kubernetes"
DEFAULTS = Settings(database_url="postgresql://db/groundwork")
SETTINGS = {name.upper() for name in Settings.__dataclass_fields__}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
BASE = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
# What kubectl can neither change nor should delete with the service.
NOT_IN_THE_SERVICE = {"Cluster", "Job", "Namespace", "PersistentVolumeClaim", "Secret"}


def manifest(name: str) -> Any:
    """Return one of the manifests."""
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


DEPLOYMENT = manifest("deployment")["spec"]
POD = DEPLOYMENT["template"]["spec"]
(SERVICE,) = POD["containers"]
(MIGRATE,) = POD["initContainers"]
each_container = pytest.mark.parametrize("container", [SERVICE, MIGRATE], ids=["serve", "migrate"])


def render(folder: Path) -> list[Any]:
    """Return the objects that kubectl would apply."""
    command = ["kubectl", "kustomize", str(folder)]
    return list(yaml.safe_load_all(subprocess.check_output(command, text=True)))


def test_the_port_is_the_default() -> None:
    """Container, service and probes use the default of PORT."""
    (port,) = SERVICE["ports"]
    (service_port,) = manifest("service")["spec"]["ports"]

    assert port["containerPort"] == DEFAULTS.port
    assert service_port["targetPort"] == port["name"]
    assert {SERVICE[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}


def test_only_readiness_depends_on_the_database() -> None:
    """A restart does not fix a database, so startup and liveness probes check the process."""
    paths = [SERVICE[probe]["httpGet"]["path"] for probe in PROBES]

    assert paths == ["/health/live", "/health/live", "/health/ready"]


def test_a_probe_outlasts_the_readiness_timeout() -> None:
    """The response comes before the kubelet's timeout."""
    assert SERVICE["readinessProbe"]["timeoutSeconds"] > DEFAULTS.readiness_timeout


def test_the_drain_outlasts_the_readiness_probe() -> None:
    """The endpoint is removed before the drain ends."""
    probe = SERVICE["readinessProbe"]

    noticed_after = probe["periodSeconds"] * probe["failureThreshold"]
    assert noticed_after < DEFAULTS.shutdown_drain_seconds


def test_the_kubelet_waits_for_the_shutdown() -> None:
    """It kills the service later than drain + grace + 3 s."""
    longest = DEFAULTS.shutdown_drain_seconds + DEFAULTS.shutdown_grace_seconds + 3

    assert POD["terminationGracePeriodSeconds"] > longest


def test_the_pools_fit_into_the_database() -> None:
    """All replicas, one more in a rollout and a migration leave three to superusers."""
    replicas = manifest("autoscaler")["spec"]["maxReplicas"]
    surge = DEPLOYMENT["strategy"]["rollingUpdate"]["maxSurge"]
    parameters = manifest("database/cluster")["spec"]["postgresql"]["parameters"]

    needed = (replicas + surge) * (DEFAULTS.db_pool_max_size + 3) + 2
    assert needed <= int(parameters["max_connections"]) - 3


def test_old_pods_serve_until_a_new_one_has_migrated() -> None:
    """Each pod migrates before it starts, and none is removed for it."""
    assert MIGRATE["command"] == ["groundwork", "migrate"]
    assert MIGRATE["image"] == SERVICE["image"]
    assert DEPLOYMENT["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_a_failed_migration_is_explained() -> None:
    """The end of its log is the pod's status, also once the container was started again."""
    assert MIGRATE["terminationMessagePolicy"] == "FallbackToLogsOnError"


@each_container
def test_containers_are_locked_down(container: Any) -> None:
    """Not root, a read-only file system, no capability, no privilege escalation."""
    assert POD["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


@each_container
def test_secrets_are_files(container: Any) -> None:
    """Each secret is where its setting looks for it, OPS_TOKEN included."""
    (volume,) = POD["volumes"]
    (mount,) = container["volumeMounts"]
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    files = {
        f"{mount['mountPath']}/{item['path']}" for secret in sources for item in secret["items"]
    }

    values = {item["name"]: item["value"] for item in container["env"]}
    named = {name.removesuffix("_FILE") for name in values if name.endswith("_FILE")}
    assert {value for value in values.values() if value.startswith("/")} == files
    assert named == {"DATABASE_URL", "SECRET_KEY", "OPS_TOKEN"} <= SETTINGS


@each_container
def test_the_databases_certificate_is_verified(container: Any) -> None:
    """The operator's secrets have the address and the certificate authority."""
    names = [source["secret"]["name"] for source in POD["volumes"][0]["projected"]["sources"]]
    cluster = manifest("database/cluster")["metadata"]["name"]

    assert {f"{cluster}-app", f"{cluster}-ca"} < set(names)
    assert {"name": "PGSSLMODE", "value": "verify-full"} in container["env"]


def test_selectors_match_the_deployment() -> None:
    """Service, disruption budget, policies and spread select the pods of the Deployment."""
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    selectors = [item["labelSelector"] for item in POD["topologySpreadConstraints"]]
    selectors += [manifest("pdb")["spec"]["selector"], DEPLOYMENT["selector"]]
    selectors += [manifest("networkpolicy")["spec"]["podSelector"]]
    selectors += [manifest("monitoring/service")["spec"]["selector"]]

    assert selectors == [{"matchLabels": labels}] * len(selectors)
    assert manifest("service")["spec"]["selector"] == labels


def test_only_known_settings_are_set() -> None:
    """settings.env has settings, and uvicorn's own variable; no secret."""
    names = re.findall(r"^(\w+)=", (FOLDER / "settings.env").read_text(), re.MULTILINE)

    assert set(names) - SETTINGS == {"FORWARDED_ALLOW_IPS"}
    assert not {"DATABASE_URL", "SECRET_KEY", "OPS_TOKEN"} & set(names)


def test_a_migrating_pod_is_not_scraped() -> None:
    """A pod is pending while its init container migrates, so GroundworkDown does not fire."""
    (endpoint,) = manifest("monitoring/service")["spec"]["podMetricsEndpoints"]

    assert endpoint["relabelings"] == [
        {
            "sourceLabels": ["__meta_kubernetes_pod_phase"],
            "regex": "Pending",
            "action": "drop",
        }
    ]


def test_services_add_no_variables() -> None:
    """The service's own address, GROUNDWORK_PORT, is not in the environment."""
    assert POD["enableServiceLinks"] is False


@pytest.mark.parametrize("folder", [path.parent for path in FOLDER.rglob("kustomization.yaml")])
def test_every_manifest_is_applied(folder: Path) -> None:
    """No manifest is missing from its kustomization."""
    resources = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]

    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(resources) == files


def test_the_tag_is_this_version() -> None:
    """The image's tag and the version label are the version of this code."""
    assert [entry["newTag"] for entry in BASE["images"]] == [__version__]
    assert BASE["labels"][0]["pairs"]["app.kubernetes.io/version"] == __version__


def test_labels_are_not_in_selectors() -> None:
    """A Deployment's selector cannot be changed, but its labels can."""
    assert not any(entry.get("includeSelectors") for entry in BASE["labels"])


def test_deleting_the_service_keeps_the_database() -> None:
    """The service's kustomization has neither data nor what cannot be applied twice."""
    kinds = {manifest(path.removesuffix(".yaml"))["kind"] for path in BASE["resources"]}

    assert not kinds & NOT_IN_THE_SERVICE


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_another_release_changes_only_what_may_change(tmp_path: Path) -> None:
    """Two tags applied in turn differ in the image only, which every object accepts."""
    shutil.copytree(FOLDER, tmp_path / "next")
    file = tmp_path / "next/kustomization.yaml"
    file.write_text(file.read_text().replace(f"newTag: {__version__}", "newTag: next"))

    before, after = render(FOLDER), render(tmp_path / "next")
    assert str(before).replace(f"groundwork:{__version__}", "groundwork:next") == str(after)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_a_changed_setting_starts_new_pods(tmp_path: Path) -> None:
    """The ConfigMap's name follows its content, and the pods name it."""
    shutil.copytree(FOLDER, tmp_path / "next")
    with (tmp_path / "next/settings.env").open("a") as file:
        file.write("LOG_LEVEL=DEBUG\n")

    names = [
        {entry["envFrom"][0]["configMapRef"]["name"] for entry in pod["spec"]["containers"]}
        for folder in (FOLDER, tmp_path / "next")
        for pod in (
            item["spec"]["template"] for item in render(folder) if "Deployment" in item.values()
        )
    ]
    assert names[0].isdisjoint(names[1])
