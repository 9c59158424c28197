"""What ships the service keeps the promises that its settings make."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork import __version__
from groundwork.core.config import Settings

CHECKOUT = Path(__file__).parents[1]
KUBERNETES = CHECKOUT / "deploy/kubernetes"
DEFAULTS = Settings(database_url="postgresql://db/groundwork")
SETTINGS = {name.upper() for name in Settings.__dataclass_fields__}
LONGEST_STOP = DEFAULTS.shutdown_drain_seconds + DEFAULTS.shutdown_grace_seconds + 3

PRODUCTION = re.split(r"^FROM ", (CHECKOUT / "Containerfile").read_text(), flags=re.MULTILINE)[-1]
COMPOSE = [
    yaml.safe_load((CHECKOUT / name).read_text())["services"]
    for name in ("compose.yaml", "compose.production.yaml")
]
each_compose = pytest.mark.parametrize("services", COMPOSE, ids=["development", "production"])
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
PODS = ("deployment", "migration")


def manifest(name: str) -> Any:
    """Return one of the manifests' `spec`."""
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())["spec"]


def container(name: str) -> Any:
    """Return the one container of a Deployment or Job."""
    (only,) = manifest(name)["template"]["spec"]["containers"]
    return only


def image(instruction: str) -> str:
    """Return the argument of one instruction of the production stage."""
    (argument,) = re.findall(rf"^{instruction} (.+)$", PRODUCTION.replace("\\\n", ""), re.MULTILINE)
    return str(argument)


def test_production_is_what_a_build_gives() -> None:
    """The last stage, the default one, is production, and says so to the settings."""
    assert PRODUCTION.startswith("base AS production\n")
    assert image("ENV") == "ENVIRONMENT=production"


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    """A name would leave Kubernetes unable to tell that it is not root."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image("USER"))


def test_the_image_starts_the_service_itself() -> None:
    """Without a shell in between, the signal to stop reaches the process that drains."""
    assert image("CMD") == '["groundwork", "serve"]'


def test_the_image_probes_itself_for_longer_than_a_check_takes() -> None:
    """The HEALTHCHECK is ours, and gives readiness the time it may need."""
    options, command = image("HEALTHCHECK").split(" CMD ")

    assert command == '["groundwork", "probe"]'
    assert float(options.partition("--timeout=")[2].split("s")[0]) > DEFAULTS.readiness_timeout


def test_everyone_means_the_same_port() -> None:
    """The default of PORT is what the image exposes and what everything else talks to."""
    published = [services["app"]["ports"][0].rpartition(":")[2] for services in COMPOSE]
    (port,) = container("deployment")["ports"]
    (service_port,) = manifest("service")["ports"]

    assert {image("EXPOSE"), *published} == {str(DEFAULTS.port)}
    assert COMPOSE[0]["app"]["environment"]["PORT"] == port["containerPort"] == DEFAULTS.port
    assert service_port["targetPort"] == port["name"]
    assert {container("deployment")[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}


@each_compose
def test_compose_lets_the_service_stop(services: Any) -> None:
    """Drain, grace and 3 s are over before compose kills."""
    assert float(services["app"]["stop_grace_period"].removesuffix("s")) > LONGEST_STOP


@each_compose
def test_compose_starts_in_order(services: Any) -> None:
    """The database is healthy before it is migrated, and migrated before the service starts."""
    healthy, done = ({"condition": f"service_{x}"} for x in ("healthy", "completed_successfully"))

    assert services["migrate"]["depends_on"] == {"db": healthy}
    assert services["app"]["depends_on"] == {"db": healthy, "migrate": done}


@each_compose
def test_compose_probes_as_the_image_does(services: Any) -> None:
    """Compose says it again, since podman drops a HEALTHCHECK, and gives a check its time."""
    check = services["app"]["healthcheck"]

    assert check["test"] == ["CMD", "groundwork", "probe"]
    assert float(check["timeout"].removesuffix("s")) > DEFAULTS.readiness_timeout


@each_compose
def test_compose_opens_nothing_to_the_network(services: Any) -> None:
    """What is published is published on the loopback address."""
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", ["app", "migrate"])
def test_compose_locks_production_down(name: str) -> None:
    """In production the file system is read-only, no capability is left, secrets are files."""
    service = COMPOSE[1][name]

    assert (service["build"]["target"], service["read_only"]) == ("production", True)
    assert service["cap_drop"] == ["ALL"]
    files = {f"{secret.upper()}_FILE": f"/run/secrets/{secret}" for secret in service["secrets"]}
    assert service["environment"] == files


@each_compose
def test_compose_sets_what_the_settings_know(services: Any) -> None:
    """Every variable is a setting, or a setting's file."""
    names = {name.removesuffix("_FILE") for name in services["app"]["environment"]}

    assert names - SETTINGS == set()


def test_kubernetes_gives_a_check_its_time() -> None:
    """A readiness answer comes before the kubelet gives up."""
    assert container("deployment")["readinessProbe"]["timeoutSeconds"] > DEFAULTS.readiness_timeout


def test_kubernetes_asks_each_question_where_it_is_answered() -> None:
    """Only readiness looks at the database: a restart would not mend it."""
    paths = [container("deployment")[probe]["httpGet"]["path"] for probe in PROBES]

    assert paths == ["/health/live", "/health/live", "/health/ready"]


def test_kubernetes_lets_the_service_stop() -> None:
    """Drain, grace and 3 s are over before the kubelet kills."""
    pod = manifest("deployment")["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] > LONGEST_STOP


def test_the_drain_outlasts_the_readiness_probe() -> None:
    """Whoever goes by readiness has seen the drain before it ends."""
    probe = container("deployment")["readinessProbe"]

    seen_after = probe["periodSeconds"] * probe["failureThreshold"]
    assert seen_after < DEFAULTS.shutdown_drain_seconds


def test_the_pools_fit_into_the_database() -> None:
    """All replicas, one more in a rollout, and a migration leave the superuser its three."""
    replicas = manifest("autoscaler")["maxReplicas"]
    surge = manifest("deployment")["strategy"]["rollingUpdate"]["maxSurge"]
    limit = int(manifest("database")["postgresql"]["parameters"]["max_connections"])

    assert (replicas + surge) * (DEFAULTS.db_pool_max_size + 1) + 1 <= limit - 3


@pytest.mark.parametrize("name", PODS)
def test_kubernetes_locks_the_container_down(name: str) -> None:
    """Not root, a read-only file system, no capability, no way to more."""
    pod = manifest(name)["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize("name", PODS)
def test_kubernetes_hands_the_secrets_over_as_files(name: str) -> None:
    """The operator's address of the database, and SECRET_KEY, are where the settings look."""
    (mount,) = container(name)["volumeMounts"]
    (volume,) = manifest(name)["template"]["spec"]["volumes"]
    database, own = (source["secret"] for source in volume["projected"]["sources"])
    cluster = yaml.safe_load((KUBERNETES / "database.yaml").read_text())["metadata"]["name"]

    (uri,), (key,) = database["items"], own["items"]
    assert (database["name"], uri["key"], key["key"]) == (f"{cluster}-app", "uri", "SECRET_KEY")
    assert {item["name"]: item["value"] for item in container(name)["env"]} == {
        "DATABASE_URL_FILE": f"{mount['mountPath']}/{uri['path']}",
        "SECRET_KEY_FILE": f"{mount['mountPath']}/{key['path']}",
    }


def test_kubernetes_counts_and_reaches_the_pods_of_the_deployment() -> None:
    """Service, disruption budget and spread select the Deployment's pods, and no Job's."""
    pods = manifest("deployment")["template"]
    spread = pods["spec"]["topologySpreadConstraints"]
    selectors = [manifest("pdb")["selector"], *(item["labelSelector"] for item in spread)]

    labels = pods["metadata"]["labels"]
    assert manifest("deployment")["selector"] == {"matchLabels": labels}
    assert [item for item in selectors if item != {"matchLabels": labels}] == []
    assert manifest("service")["selector"] == labels
    assert "metadata" not in manifest("migration")["template"]


def test_kustomize_has_every_manifest_and_this_version() -> None:
    """No manifest is forgotten, and the image's tag is the version of this code."""
    base = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())

    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(base["resources"]) == files
    assert [entry["newTag"] for entry in base["images"]] == [__version__]
