"""DATABASE_URL, read by libpq's own parser."""

import os
import pwd
import re
import ssl
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock
from urllib.parse import quote

import psycopg2
import pytest

from groundwork.core.database_url import DatabaseURLError, answers, parse_database_url
from tests.databases import CHECKOUT

# Every keyword of libpq's manual, "Parameter Key Words", with a value that libpq takes.
KEYWORDS = {
    "application_name": "other",
    "channel_binding": "require",
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    "dbname": "other",
    "fallback_application_name": "other",
    "gssdelegation": "0",
    "gssencmode": "prefer",
    "gsslib": "gssapi",
    "host": "db.example",
    "hostaddr": "192.0.2.1",
    "keepalives": "1",
    "keepalives_count": "3",
    "keepalives_idle": " 60 ",
    "keepalives_interval": "10",
    "krbsrvname": "postgres",
    "load_balance_hosts": "random",
    "options": "-c statement_timeout=5s",
    "passfile": "/nowhere/pgpass",
    "password": "s3cret",
    "port": "6432",
    "require_auth": "scram-sha-256",
    "requirepeer": "postgres",
    "ssl_max_protocol_version": "TLSv1.3",
    "ssl_min_protocol_version": "TLSv1.2",
    "sslcert": "/",
    "sslcertmode": "allow",
    "sslcompression": "0",
    "sslcrl": "/",
    "sslcrldir": "/nowhere",
    "sslkey": "/nowhere/client.key",
    "sslmode": "require",
    "sslnegotiation": "postgres",
    "sslpassword": "s3cret",
    "sslrootcert": "/",
    "sslsni": "1",
    "target_session_attrs": "read-write",
    "tcp_user_timeout": "1000",
    "user": "somebody",
}
ENCODE = "Percent-encode special characters in user and password: %40 for @, %2F for /, %25 for %."
# Values that libpq refuses before it connects.
REFUSED = {
    "channel_binding": "s3cret",
    "connect_timeout": "s3cret",
    "gssencmode": "require",
    "keepalives_idle": "s3cret",
    "load_balance_hosts": "s3cret",
    "port": "70000",
    "replication": "database",
    "require_auth": "s3cret",
    "service": "s3cret",
    "ssl_min_protocol_version": "s3cret",
    "sslcertmode": "s3cret",
    "sslmode": "s3cret",
    "sslnegotiation": "s3cret",
    "target_session_attrs": "s3cret",
    "tcp_user_timeout": "s3cret",
}


@pytest.fixture(autouse=True)
def forget_answers() -> None:
    """Let libpq read each address again: a test may have changed its variables."""
    answers.clear()


def message(url: str) -> str:
    """Return why an address is refused."""
    with pytest.raises(DatabaseURLError) as caught:
        parse_database_url(url)
    return str(caught.value)


@pytest.mark.parametrize("name", KEYWORDS)
def test_every_keyword_of_libpq_is_taken(name: str) -> None:
    """What asyncpg knows is handed on, what it does not is dropped, and nothing is invented."""
    url = parse_database_url(f"postgresql://h/d?{name}={quote(KEYWORDS[name])}")

    assert set(url.server_settings) <= {"application_name", "options"}
    assert "balance" not in url.dsn
    assert "other" not in url.dsn or name == "dbname"


def test_the_documentation_lists_the_keywords_that_have_no_effect() -> None:
    """Of libpq's keywords the service does not use these (-s shows all)."""
    effects = {name: effect(name, value) for name, value in KEYWORDS.items()}
    for name, found in effects.items():
        print(f"{name:26} migrate: as psql    serve: {found}")
    text = (CHECKOUT / "docs/operations.md").read_text()
    listed = re.search(r"The service does not use (.*?)\. `replication`", text)
    assert listed is not None
    ignored = {name for name, found in effects.items() if found == "ignored"}
    documented = set(re.findall(r"`([a-z_]+\*?)`", listed[1]))

    assert {re.sub(r"^keepalives.*", "keepalives*", name) for name in ignored} == documented


def effect(name: str, value: str) -> str:
    """Return what a keyword does to the address that the service's driver gets."""
    plain = parse_database_url("postgresql://h/d")
    with_it = parse_database_url(f"postgresql://h/d?{name}={quote(value)}")
    return "used" if with_it != plain else "ignored"


def test_an_empty_value_is_none() -> None:
    """As with libpq, it is the same as to leave the parameter out."""
    with_empty = parse_database_url("postgresql://h/d?password=&sslkey=&options=")

    assert with_empty == parse_database_url("postgresql://h/d")


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_libpq_refuses_is_named_by_its_parameter(name: str) -> None:
    """The message has the parameter's name and no value."""
    text = message(f"postgresql://u:s3cret@h/d?{name}={REFUSED[name]}")

    assert f"'{name}'" in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://", ((None, None, None),)),
        ("postgresql://:6432/d", ((None, 6432, None),)),
        ("port=6432", ((None, 6432, None),)),
        ("postgresql://h", (("h", 5432, None),)),
        ("postgresql://a,b:5433/d", (("a", 5432, None), ("b", 5433, None))),
        ("postgresql://?host=a,b&port=1,2", (("a", 1, None), ("b", 2, None))),
        ("postgresql://?host=a,b&port=7", (("a", 7, None), ("b", 7, None))),
        ("host=a,b port=1,2", (("a", 1, None), ("b", 2, None))),
        ("postgresql://[::1]:5433/d", (("::1", 5433, None),)),
        ("postgresql:///d?host=/run/postgresql", (("/run/postgresql", 5432, None),)),
        (
            "postgresql://a,b/d?hostaddr=192.0.2.1,192.0.2.2",
            (("a", 5432, "192.0.2.1"), ("b", 5432, "192.0.2.2")),
        ),
        (
            "hostaddr=192.0.2.1,192.0.2.2 port=7",
            (("192.0.2.1", 7, "192.0.2.1"), ("192.0.2.2", 7, "192.0.2.2")),
        ),
        (
            "hostaddr=192.0.2.1,192.0.2.2 port=7,8",
            (("192.0.2.1", 7, "192.0.2.1"), ("192.0.2.2", 8, "192.0.2.2")),
        ),
        ("hostaddr=fe80::1%eth0", (("fe80::1%eth0", 5432, "fe80::1%eth0"),)),
        ("postgresql://h1,:7/d", (("h1", 5432, None), ("localhost", 7, None))),
    ],
)
def test_hosts_are_read_in_every_spelling(
    url: str, hosts: tuple[tuple[str | None, int | None, str | None], ...]
) -> None:
    """Several hosts, their ports and addresses stand for the same in a URL and in keywords."""
    assert parse_database_url(url).hosts == hosts


@pytest.mark.parametrize(
    "password", ["p#s3cret", "p?s3cret", "[s3cret", "p%23s3cret", "p%40s3cret"]
)
def test_a_password_is_read_as_psql_reads_it(password: str) -> None:
    """Libpq takes #, ? and [ in a password as they are."""
    url = parse_database_url(f"postgresql://u:{password}@h/d")

    assert "s3cret" in url.dsn
    assert url.hosts == (("h", 5432, None),)
    assert "s3cret" not in repr(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@s3cret@h/d",
        "postgresql://u:p%s3cret@h/d",
        "postgresql://u:s3cret%ff@h/d",
        "postgresql://u:p/s3cret@h/d",
        "postgresql://u:1/s3cret@h/d",
        "postgresql://u:1/@h/s3cret",
        "postgresql://u:p@s3/cret@h/d",
        "postgresql://u:s3cret@[::1/d",
        "postgresql://u:s3cret@h:x/d",
        "postgresql://u@h/d?password=s3cret&s3cret@x=1",
        "postgresql://u@h/d?password=half&othersecret",
        "postgresql://u:p/b?secret=x@h/d",
    ],
)
def test_a_password_to_encode_is_a_hint_without_the_password(url: str) -> None:
    """Where a special character breaks the address, the message says what to do."""
    text = message(url)

    assert "ercent-encode" in text
    assert not re.search("s3|cret|othersecret", text)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "Missing."),
        ("  ", "Missing."),
        ("mysql://u:s3cret@h/d", "Not a PostgreSQL address."),
        ("s3cret", "Not a PostgreSQL address."),
        (
            "postgresql+asyncpg://h/d",
            "Remove '+asyncpg': one address serves asyncpg, yoyo and psql.",
        ),
        ("postgresql+asyncpg//u:s3cret@h/d", "Not a PostgreSQL address."),
        ("postgresql+asyncpg:/u:s3cret@h/d", "Not a PostgreSQL address."),
        ("host=h password=correct horse=staple", "Not a PostgreSQL address."),
        ("postgresql://h/d?bogus=s3cret", "libpq does not know the parameter 'bogus'."),
        ("postgresql://h/d?sslMode=s3cret", "libpq does not know the parameter 'sslMode'."),
        ("host=h bogus=s3cret", "libpq does not know the parameter 'bogus'."),
        (
            "postgresql://h/d?options=-c search_path=s3cret",
            "libpq requires %3D for = in the parameter 'options'.",
        ),
        (
            "postgresql://h/d?gssencmode=s3cret",
            "libpq does not take the value of the parameter 'gssencmode'.",
        ),
        (
            "postgresql://h/d?gssencmode=require",
            "Groundwork does not support this value of the parameter 'gssencmode'.",
        ),
        (
            "postgresql://h/d?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "libpq does not take its parameters.",
        ),
        (
            "host=a,b port=1,s3cret",
            f"libpq does not take the value of the parameter 'port'. {ENCODE}",
        ),
        (
            "host=a,b port=1,70000",
            f"libpq does not take the value of the parameter 'port'. {ENCODE}",
        ),
        (
            "postgresql://a,b/d?hostaddr=192.0.2.1",
            "libpq does not take the value of the parameter 'hostaddr'.",
        ),
        (
            "postgresql://a,b/d?hostaddr=192.0.2.1,1db1",
            "libpq does not take the value of the parameter 'hostaddr'.",
        ),
    ],
)
def test_what_libpq_does_not_read_is_refused(url: str, text: str) -> None:
    """The message names the parameter, or says what is expected."""
    assert message(url) == text


@pytest.mark.parametrize(
    "variable", ["PGSSLMODE", "PGTARGETSESSIONATTRS", "PGPORT", "PGREQUIREAUTH"]
)
def test_a_variable_that_libpq_does_not_read_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A value in the environment is refused like one in the address, by the variable's name."""
    monkeypatch.setenv(variable, "s3cret")

    text = f"libpq does not take the value of the parameter '{variable}'."
    assert message("postgresql://h/d") == text


def test_variables_of_libpq_are_read_by_both_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts, port, options and name come from the environment where the address has none."""
    for name, value in {
        "PGHOST": "a,b",
        "PGHOSTADDR": "192.0.2.1,192.0.2.2",
        "PGPORT": "6432,5433",
        "PGOPTIONS": "-c x=y",
        "PGAPPNAME": "n",
    }.items():
        monkeypatch.setenv(name, value)

    url = parse_database_url("postgresql:///d")

    assert url.hosts == (("a", 6432, "192.0.2.1"), ("b", 5433, "192.0.2.2"))
    assert url.server_settings == {"application_name": "n", "options": "-c x=y"}


@pytest.mark.parametrize("given", ["sslrootcert=system", ""])
def test_system_certificates_are_trusted_by_both_drivers(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """sslrootcert=system is no file for asyncpg, and psycopg2's OpenSSL gets their paths."""
    if not given:
        monkeypatch.setenv("PGSSLROOTCERT", "system")
    paths = SimpleNamespace(cafile=None, capath="/certificates")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(os, "environ", environment := dict(os.environ))
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        environment.pop(name, None)
    address = f"postgresql://h/d?sslcert=/&sslkey=/k&{given}"
    first, url = (parse_database_url(address) for _ in range(2))  # each connection does

    assert first == url
    assert url.uses_system_certificates
    assert "sslrootcert" not in url.dsn
    assert (url.parts["sslcert"], url.parts["sslkey"]) == ("/", "/k")
    assert "SSL_CERT_FILE" not in environment
    assert environment["SSL_CERT_DIR"] == "/certificates"


@pytest.mark.parametrize(
    ("parameters", "used"),
    [
        ("sslcert=/nowhere", []),
        ("sslmode=verify-full&sslcrl=/nowhere", ["sslmode"]),
        ("sslmode=require&sslrootcert=/nowhere", ["sslmode"]),
        ("sslmode=verify-ca&sslrootcert=/nowhere", ["sslmode", "sslrootcert"]),
        ("sslmode=require&sslrootcert=/", ["sslmode", "sslrootcert"]),
    ],
)
def test_a_file_for_tls_that_is_not_there_is_not_used(parameters: str, used: list[str]) -> None:
    """Libpq goes on without it, but for the authority that is to have signed the certificate."""
    url = parse_database_url(f"postgresql://u@h/d?{parameters}")

    assert sorted(url.parts) == ["dbname", *used, "user"]


def test_without_a_user_both_drivers_take_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is PGUSER or the name of the account, as for libpq; LOGNAME, which asyncpg reads, is not.

    An account without a name, as in some containers, is an error that says so.
    """
    account = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setenv("LOGNAME", "another")
    assert "user=" + account in parse_database_url("postgresql:///d").dsn

    monkeypatch.setattr(pwd, "getpwuid", Mock(side_effect=KeyError))
    assert message("postgresql:///d").startswith("It has no user name")

    monkeypatch.setenv("PGUSER", "somebody")
    assert "user=somebody" in parse_database_url("postgresql:///d").dsn


SERVICES = """
host=no
[mine2]
host=no
[mine]
# höst=no

host=a,b
port=1,2
host=no
user=u
password=50%s3cret
options=-c search_path=x
connect_timeout=5
[mine]
dbname=no
"""


@pytest.mark.parametrize("variable", ["PGSERVICE", None])
@pytest.mark.parametrize("folder", ["PGSYSCONFDIR", "PGSERVICEFILE", "HOME"])
def test_a_service_is_read_as_libpq_reads_it(
    folder: str, variable: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every keyword of the service counts, in any file that libpq finds; the address wins."""
    name = {"PGSYSCONFDIR": "pg_service.conf", "HOME": ".pg_service.conf"}.get(folder, "")
    (file := tmp_path / (name or "services")).write_bytes(SERVICES.encode("latin-1"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(folder, str(tmp_path if name else file))
    if variable:
        monkeypatch.setenv(variable, "mine")

    url = parse_database_url("postgresql://u2@" if variable else "user=u2 service=mine")

    assert url.dsn == "postgresql://?user=u2&password=50%25s3cret"
    assert url.hosts == (("a", 1, None), ("b", 2, None))
    assert url.server_settings["options"] == "-c search_path=x"


def test_libpq_is_asked_again_if_the_service_has_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each connection reads the address; libpq, which takes memory, is asked about what is new."""
    (file := tmp_path / "services").write_text("[mine]\nport=6432")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    first = parse_database_url("service=mine user=u")
    monkeypatch.setattr(psycopg2, "connect", Mock(side_effect=psycopg2.Error('"port"')))

    assert parse_database_url("service=mine user=u") == first
    file.write_text("[mine]\nport=x")
    with pytest.raises(DatabaseURLError, match="port"):
        parse_database_url("service=mine user=u")
    with pytest.raises(DatabaseURLError, match="port"):
        parse_database_url("host=other port=1")


def test_a_tls_version_is_taken_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """As libpq takes it, from the environment too; asyncpg knows one spelling."""
    monkeypatch.setenv("PGSSLMAXPROTOCOLVERSION", "tlsv1.3")
    url = parse_database_url("host=h dbname=d ssl_min_protocol_version=tlsV1.2")

    assert "ssl_min_protocol_version=TLSv1.2" in url.dsn
    assert "ssl_max_protocol_version=TLSv1.3" in url.dsn


def test_a_service_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGSERVICE is refused like the parameter, and a home that is unknown changes nothing."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", Mock(side_effect=KeyError))
    monkeypatch.setenv("PGSERVICE", "s3cret")

    text = message("postgresql://")

    assert text == "libpq does not take the value of the parameter 'service'."


@pytest.mark.parametrize("line", ["host = h", "host", "bogus=s3cret"])
def test_a_service_that_libpq_does_not_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    """A line that is not keyword=value, without spaces, is no line of a service file."""
    (file := tmp_path / "services").write_text(f"[mine]\nport=1\n{line}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))

    assert message("service=mine").startswith("libpq does not take the value of the parameter ")


def test_a_service_of_libpqs_own_folder_is_left_to_the_drivers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where libpq knows a service that is in no file of ours, it goes to asyncpg by its name."""
    refusal = Mock(side_effect=psycopg2.OperationalError("connection to server failed"))
    monkeypatch.setattr(psycopg2, "connect", refusal)

    url = parse_database_url("user=u service=mine")

    assert (url.dsn, url.hosts) == ("postgresql://?service=mine&user=u", ((None, None, None),))
