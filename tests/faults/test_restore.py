"""The scripts that make and restore a backup on a server, run against a cluster of its own."""

import os
import re
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from subprocess import DEVNULL, PIPE

import psycopg2
import pytest

from tests.faults.cluster import PROGRAMS, Cluster
from tests.servers import wait_until

SCRIPTS = Path(__file__).parents[2] / "deploy/compose/database"
EXCHANGE = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'"


# The owner of a database chooses where a session of anybody looks for functions first.
SEARCH_PATH = "ALTER DATABASE groundwork SET search_path = s, pg_catalog, public; CREATE SCHEMA s;"
BODY = """RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    ALTER ROLE groundwork SUPERUSER;
    RETURN NULL;
END $$"""

# What the service's role may write, to become superuser when its backup is restored.
HOSTILE = {
    "a constraint": """
        CREATE FUNCTION f(a int) RETURNS bool LANGUAGE plpgsql AS $$
        BEGIN
            IF session_user <> current_user THEN
                RESET ROLE;
                ALTER ROLE groundwork SUPERUSER;
            END IF;
            RETURN true;
        END $$;
        CREATE TABLE t (a int CHECK (f(a)));
        INSERT INTO t VALUES (1)
    """,
    "a comment": """
        COMMENT ON TABLE installation IS '
GRANT ALL ON installation TO "a$r$; ALTER ROLE groundwork SUPERUSER; --";
'
    """,
    "a search_path": f"{SEARCH_PATH} CREATE FUNCTION s.format(text, text, name, name) {BODY}",
}

# Grants that the service's role could not repeat.
GRANTS = {
    "default privileges of a superuser": "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app",
    "a grant option that was used": """
        GRANT SELECT ON installation TO reader WITH GRANT OPTION;
        SET SESSION AUTHORIZATION reader;
        GRANT SELECT ON installation TO app
    """,
    "a function of PostgreSQL": "GRANT EXECUTE ON FUNCTION pg_stat_reset() TO app",
}


def start(
    cluster: Cluster, folder: Path, dump: bytes, name: str = "restore"
) -> subprocess.Popen[bytes]:
    """Run restore.sh with a dump, as in its container; or backup.sh, but for its proof."""
    (folder / "password").write_text("unused")
    script = (SCRIPTS / f"{name}.sh").read_text().partition("# The proof")[0]
    script = script.replace("PGHOST=db", "PGHOST=127.0.0.1")
    script = re.sub(r"/run/secrets/\w+", str(folder / "password"), script)
    script = re.sub(r"/\w+/tmp/", f"{folder}/", script)
    script = script.replace('$(dirname "$0")', str(SCRIPTS))
    path = f"{PROGRAMS}:{os.environ['PATH']}"
    process = subprocess.Popen(
        ["sh", "-c", script],
        env=os.environ | {"PATH": path, "PGPORT": str(cluster.port)},
        stdin=PIPE,
        stdout=DEVNULL,
        start_new_session=True,
    )
    assert process.stdin
    process.stdin.write(dump)
    process.stdin.close()
    return process


def restore(cluster: Cluster, folder: Path) -> int:
    """Restore a dump of the database as it is, and return the exit code."""
    return start(cluster, folder, dumped(cluster)).wait()


def dumped(cluster: Cluster) -> bytes:
    """Return a dump of the database."""
    command = [str(PROGRAMS / "pg_dump"), "--format=custom", cluster.url("postgres")]
    return subprocess.check_output(command)


@pytest.fixture
def dump(cluster: Cluster) -> bytes:
    """Return a dump of the database, where there is a role to own it."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    return dumped(cluster)


def test_what_is_set_for_the_database_stays(cluster: Cluster, tmp_path: Path, dump: bytes) -> None:
    """A restore keeps grants on the database, and ALTER DATABASE's settings, which no dump has."""
    cluster.run("GRANT CONNECT ON DATABASE groundwork TO reader")
    cluster.run("ALTER DATABASE groundwork SET work_mem = '17MB'")
    cluster.run("ALTER ROLE reader IN DATABASE groundwork SET search_path = \"$user\", 'a, b'")

    assert start(cluster, tmp_path, dump).wait() == 0

    assert cluster.run("SELECT count(*) FROM pg_database WHERE datname LIKE '%before%'") == [(1,)]
    assert cluster.run("SHOW work_mem") == [("17MB",)]
    with closing(psycopg2.connect(cluster.url("reader"))) as reader, reader.cursor() as cursor:
        cursor.execute("SHOW search_path")
        assert cursor.fetchall() == [('"$user", "a, b"',)]


def test_what_only_a_superuser_may_create_is_restored(cluster: Cluster, tmp_path: Path) -> None:
    """Publications, subscriptions and event triggers, with their comments, are in the copy."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run("CREATE PUBLICATION everything FOR ALL TABLES")
    options = "PUBLICATION everything WITH (connect = false)"
    cluster.run(f"CREATE SUBSCRIPTION copy CONNECTION 'host=/nowhere' {options}")
    cluster.run("COMMENT ON PUBLICATION everything IS 'for reports'")
    cluster.run("CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
    cluster.run("CREATE EVENT TRIGGER changes ON ddl_command_end EXECUTE FUNCTION f()")
    assert restore(cluster, tmp_path) == 0

    assert cluster.run("SELECT obj_description(oid) FROM pg_publication") == [("for reports",)]
    assert cluster.run("SELECT evtname FROM pg_event_trigger") == [("changes",)]
    copies = "SELECT datname FROM pg_subscription JOIN pg_database AS d ON d.oid = subdbid"
    assert ("groundwork",) in cluster.run(copies)


@pytest.mark.parametrize("statement", HOSTILE.values(), ids=HOSTILE)
def test_no_code_in_a_dump_is_run_by_a_superuser(
    cluster: Cluster, tmp_path: Path, statement: str
) -> None:
    """The service's role, which writes what is backed up, gets no more rights by a restore."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run(statement)
    assert restore(cluster, tmp_path) == 0

    assert cluster.run("SELECT rolsuper FROM pg_roles WHERE rolname = 'groundwork'") == [(False,)]


def test_no_code_in_the_database_is_run_by_a_backup(cluster: Cluster, tmp_path: Path) -> None:
    """A backup finds PostgreSQL's own functions, whatever search_path the service's role sets."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run(f"{SEARCH_PATH} CREATE FUNCTION s.format(text, name) {BODY}")
    assert start(cluster, tmp_path, b"unused", "backup").wait() == 0

    assert cluster.run("SELECT rolsuper FROM pg_roles WHERE rolname = 'groundwork'") == [(False,)]


def test_rows_of_a_view_are_not_counted(cluster: Cluster) -> None:
    """A view in the place of a table that was just found is an error: its functions do not run."""
    cluster.run("CREATE TABLE a_table ()")
    cluster.run("CREATE VIEW a_view AS SELECT FROM a_table")
    command = (str(PROGRAMS / "psql"), cluster.url("postgres"), "--set=ON_ERROR_STOP=1")
    counts = (*command, f"--file={SCRIPTS / 'row-counts.sql'}")

    assert b"\npublic.a_table|0\n" in subprocess.check_output([*counts, "--no-align"])
    view = [*counts, "--command=SELECT count(*) FROM a_view"]
    assert b'view "a_view" is restricted' in subprocess.run(view, stderr=PIPE, check=False).stderr


def test_a_text_that_looks_like_a_grant_is_restored(cluster: Cluster, tmp_path: Path) -> None:
    """A line of a comment or a function may grant something to a role that cannot exist."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run("COMMENT ON TABLE installation IS '\nGRANT ALL ON t TO current_user;\n'")
    assert restore(cluster, tmp_path) == 0


@pytest.mark.parametrize("statement", GRANTS.values(), ids=GRANTS)
def test_the_grants_of_other_roles_are_restored(
    cluster: Cluster, tmp_path: Path, statement: str
) -> None:
    """A restore repeats each grant in the dump, whoever made it and on whatever object."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run(statement)
    assert restore(cluster, tmp_path) == 0

    schema = [str(PROGRAMS / "pg_dump"), "--schema-only", cluster.url("postgres")]
    assert re.search(rb"GRANT .* TO app;", subprocess.check_output(schema))


def test_a_crash_in_the_exchange_locks_nobody_out(
    cluster: Cluster, tmp_path: Path, dump: bytes
) -> None:
    """If the server crashes while it waits for a session, the database is as it was."""
    with closing(psycopg2.connect(cluster.url("postgres"))) as session:
        os.kill(session.info.backend_pid, signal.SIGSTOP)
        process = start(cluster, tmp_path, dump)
        wait_until(lambda: bool(cluster.run(EXCHANGE, database="postgres")))

        cluster.stop(signal.SIGKILL)
        assert process.wait() != 0
        cluster.start()

    assert cluster.run("SELECT count(*) FROM installation") == [(1,)]
