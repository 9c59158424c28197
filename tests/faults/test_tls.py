"""TLS to PostgreSQL, verified in the same way by serve and migrate."""

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.databases import groundwork
from tests.faults.cluster import Cluster
from tests.faults.probes import get, until
from tests.servers import PATIENCE, serve, wait_until

HAS_TLS = "SELECT 1 FROM pg_config() WHERE name = 'CONFIGURE' AND setting ~ 'openssl'"
NAMES = "subjectAltName=DNS:localhost,DNS:db.example"  # not 127.0.0.1


@dataclass
class Authority:
    """A certificate authority: its certificate, and a folder as `openssl rehash` makes it."""

    folder: Path

    @property
    def certificate(self) -> str:
        """Return the path of the certificate."""
        return str(self.folder / "ca.crt")

    def issue(self, name: str, extension: str) -> None:
        """Make NAME.key and NAME.crt."""
        openssl(
            self.folder,
            *f"req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256"
            f" -subj /CN={name} -addext {extension} -keyout {name}.key -out {name}.csr".split(),
        )
        openssl(
            self.folder,
            *f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -days 2"
            f" -copy_extensions copy -out {name}.crt".split(),
        )


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def new_authority(folder: Path) -> Authority:
    """Create a certificate authority."""
    folder.mkdir()
    openssl(
        folder,
        *"req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2"
        f" -subj /CN={folder.name} -keyout ca.key -out ca.crt".split(),
    )
    openssl(folder, "rehash", ".")
    return Authority(folder)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that has issued the server's certificate and the client's."""
    authority = new_authority(tmp_path_factory.mktemp("tls") / "trusted")
    authority.issue("server", NAMES)
    authority.issue("app", "basicConstraints=CA:FALSE")
    return authority


@pytest.fixture(scope="module")
def other(authority: Authority) -> Authority:
    """Return an authority that has issued nothing."""
    return new_authority(authority.folder.with_name("other"))


@pytest.fixture(scope="module")
def tls(template: Cluster, authority: Authority) -> Iterator[Cluster]:
    """Run a cluster that accepts app with TLS only, and reader with a client's certificate."""
    cluster = template.copy()
    for name in ("server.crt", "server.key", "ca.crt"):
        file = cluster.data / name
        file.write_bytes((authority.folder / name).read_bytes())
        os.chown(file, cluster.data.stat().st_uid, -1)
        file.chmod(0o600)
    hba = cluster.data / "pg_hba.conf"
    try:
        cluster.start()
        if not cluster.run(HAS_TLS):
            pytest.skip("this PostgreSQL has no TLS; POSTGRES_BIN_DIR may name one that has")
        cluster.run("ALTER SYSTEM SET ssl = on")
        cluster.run("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'")
        rules = re.sub("host all (app|reader)", r"hostssl all \1", hba.read_text())
        hba.write_text(re.sub("(reader .*)", r"\1 clientcert=verify-ca", rules))
        cluster.stop()
        cluster.start()  # does not start with a rule that is invalid; a reload would ignore all
        yield cluster
    finally:
        cluster.stop(signal.SIGQUIT)


def environment_of(
    tls: Cluster, host: str, parameters: str, authority: Authority, user: str = "app"
) -> dict[str, str]:
    """Return the address with a host name and parameters, and the system's certificates."""
    address = tls.url(user).replace("@127.0.0.1:", f"@{host}:")
    parameters = parameters.format(ca=authority.certificate, folder=authority.folder)
    return {"DATABASE_URL": f"{address}?{parameters}", "SSL_CERT_FILE": authority.certificate}


BUSY = ("starting", "database_timeout", "event_loop_blocked")  # what a busy machine may add
SYSTEM = "sslmode=verify-full&sslrootcert=system"
FULL = "sslmode=verify-full&sslrootcert={ca}"
CA = "sslmode=verify-ca&sslrootcert={ca}"
ADDRESS = "&hostaddr=127.0.0.1"


@pytest.mark.parametrize(
    ("host", "parameters"),
    [
        ("localhost", SYSTEM),
        ("localhost", "sslrootcert=system"),
        ("db.example", SYSTEM + ADDRESS),
        ("localhost", FULL),
        ("db.example", FULL + ADDRESS),
        ("127.0.0.1", CA),
        ("127.0.0.1", "sslmode=require"),
    ],
)
async def test_a_trusted_server_is_accepted(
    tls: Cluster, authority: Authority, host: str, parameters: str
) -> None:
    """Serve and migrate both connect, whichever way the trusted authority is given."""
    environment = environment_of(tls, host, parameters, authority)
    migrated = groundwork("migrate", "--check", **environment)
    with serve(**environment) as server:
        await until(server.port, 200)
        encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        ((all_encrypted,),) = tls.run(f"{encrypted} WHERE usename = 'app'")

    assert migrated.returncode == 0, migrated.stderr
    assert all_encrypted


@pytest.mark.parametrize("parameters", [SYSTEM, FULL])
async def test_a_client_certificate_is_sent(
    tls: Cluster, authority: Authority, parameters: str
) -> None:
    """Where the server requires a certificate, serve and migrate both send it."""
    parameters += "&sslcert={folder}/app.crt&sslkey={folder}/app.key"
    environment = environment_of(tls, "localhost", parameters, authority, "reader")
    migrated = groundwork("migrate", "--check", **environment)
    with serve(**environment) as server:
        await until(server.port, 200)

    assert migrated.returncode == 0, migrated.stderr


async def test_the_log_says_that_a_client_certificate_is_refused(
    tls: Cluster, authority: Authority, other: Authority
) -> None:
    """With TLS 1.3 the server refuses it after the handshake, when it closes the connection."""
    other.issue("app", "basicConstraints=CA:FALSE")
    parameters = f"{FULL}&sslcert={other.folder}/app.crt&sslkey={other.folder}/app.key"
    with serve(**environment_of(tls, "localhost", parameters, authority, "reader")) as server:
        await until(server.port, 503, "database_unreachable")
        wait_until(lambda: "alert unknown ca" in server.log.read_text(), server)


@pytest.mark.parametrize(
    ("host", "parameters", "issuer"),
    [
        ("localhost", SYSTEM, "other"),
        ("localhost", FULL, "other"),
        ("127.0.0.1", CA, "other"),
        ("127.0.0.1", SYSTEM, "authority"),
        ("127.0.0.1", FULL, "authority"),
        ("wrong.example", FULL + ADDRESS, "authority"),
        ("localhost", "sslmode=disable", "authority"),
    ],
)
async def test_a_server_that_cannot_be_trusted_is_refused(
    tls: Cluster, host: str, parameters: str, issuer: str, request: pytest.FixtureRequest
) -> None:
    """A wrong authority, a wrong name or no TLS at all is refused by serve and migrate alike."""
    environment = environment_of(tls, host, parameters, request.getfixturevalue(issuer))
    migrated = groundwork("migrate", "--check", **environment)
    with serve(**environment) as server:
        async with asyncio.timeout(PATIENCE):
            while (response := await get(server.port)).reason in BUSY:
                await asyncio.sleep(0.1)

    assert migrated.returncode == 1
    assert len(migrated.stdout.splitlines()) == 1
    assert response.status == 503
    assert response.reason in {"database_unreachable", "database_rejected"}
