"""The scripts that make and restore a backup on a server, run against a cluster of its own."""

import os
import re
import signal
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE

import psycopg2
import pytest

from tests.databases import run
from tests.faults.cluster import PROGRAMS, Cluster
from tests.servers import wait_until

SCRIPTS = Path(__file__).parents[2] / "deploy/compose/database"
EXCHANGE = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'"


# What the service's role may write into its database, to run a program when a superuser backs it up
# or restores it. The program runs in the folder of the data.
PROGRAM = "COPY (SELECT 1) TO PROGRAM 'touch taken'"
ATTACK = f"""
CREATE FUNCTION attack() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    SET ROLE none;
    {PROGRAM};
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END $$;
CREATE FUNCTION attack(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql
AS 'BEGIN RETURN (SELECT public.attack()); END';
CREATE TABLE t (a int CHECK (public.attack()), b int);
INSERT INTO t VALUES (1, 2);
"""
GRANT = f'GRANT ALL ON SCHEMA public TO "a$r$; {PROGRAM}; --";'.replace("'", "''")
HOSTILE = {
    "a constraint": "",
    "a comment": f"COMMENT ON SCHEMA public IS '\n{GRANT}\n'",
    "a search_path": """
        ALTER DATABASE groundwork SET search_path = s, pg_catalog, public;
        CREATE SCHEMA s;
        CREATE FUNCTION s.format(text, name, name) RETURNS text LANGUAGE plpgsql
        AS 'BEGIN PERFORM public.attack(); RETURN NULL; END'
    """,
    "an index": "CREATE INDEX ON t (a) WHERE attack(1)",
    "statistics": "CREATE STATISTICS s ON (a + attack(1)::int), b FROM t",
    "a role and a policy": """
        ALTER DATABASE groundwork SET role = groundwork;
        ALTER TABLE t ENABLE ROW LEVEL SECURITY;
        ALTER TABLE t FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON t USING (attack())
    """,
    "an encoding": """
        ALTER DATABASE groundwork SET client_encoding = 'SJIS';
        ALTER DATABASE groundwork SET standard_conforming_strings = off;
        ALTER DATABASE groundwork SET backslash_quote = on;
        CREATE TABLE "\u00a5'::text, public.attack()--" ()
    """,
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
    options = {"PGOPTIONS": "--role=none", "PGCLIENTENCODING": "UTF8"}
    return subprocess.check_output(command, env=os.environ | options)


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
    cluster.run("ALTER ROLE postgres IN DATABASE groundwork SET statement_timeout = 1")

    assert start(cluster, tmp_path, dump).wait() == 0

    before = "SELECT count(*) FROM pg_database WHERE datname LIKE '%before%'"
    assert cluster.run(before, database="postgres") == [(1,)]
    settings = "SELECT current_setting('work_mem'), current_setting('search_path')"
    assert run(cluster.url("reader"), settings) == [("17MB", '"$user", "a, b"')]


def test_what_only_a_superuser_may_create_is_restored(cluster: Cluster, tmp_path: Path) -> None:
    """Publications and subscriptions are in the copy; an event trigger would get another owner."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run("CREATE PUBLICATION everything FOR ALL TABLES")
    options = "PUBLICATION everything WITH (connect = false)"
    cluster.run(f"CREATE SUBSCRIPTION copy CONNECTION 'host=/nowhere' {options}")
    cluster.run("COMMENT ON PUBLICATION everything IS 'for reports'")
    cluster.run("CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
    cluster.run("CREATE EVENT TRIGGER changes ON ddl_command_end EXECUTE FUNCTION f()")
    cluster.run("COMMENT ON EVENT TRIGGER changes IS 'for the log'")
    assert restore(cluster, tmp_path) == 0

    assert cluster.run("SELECT obj_description(oid) FROM pg_publication") == [("for reports",)]
    assert cluster.run("SELECT evtname FROM pg_event_trigger") == []
    copies = "SELECT datname FROM pg_subscription JOIN pg_database AS d ON d.oid = subdbid"
    assert ("groundwork",) in cluster.run(copies)


def test_an_extension_may_have_a_schema(cluster: Cluster, tmp_path: Path) -> None:
    """An extension that only a superuser may create is restored into the schema that it was in."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run("CREATE SCHEMA extensions")
    cluster.run("CREATE EXTENSION pg_stat_statements SCHEMA extensions")
    assert restore(cluster, tmp_path) == 0

    assert cluster.run("SELECT count(*) > 0 FROM extensions.pg_stat_statements") == [(True,)]
    assert cluster.run(
        "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'extensions'"
    ) == [("groundwork",)]


def test_a_materialized_view_is_filled_under_policies(cluster: Cluster, tmp_path: Path) -> None:
    """A view of a table whose policies apply to its owner has the rows that these let through."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run("ALTER TABLE installation ENABLE ROW LEVEL SECURITY")
    cluster.run("ALTER TABLE installation FORCE ROW LEVEL SECURITY")
    cluster.run("CREATE POLICY everything ON installation USING (true)")
    cluster.run("CREATE MATERIALIZED VIEW copy AS SELECT * FROM installation")
    assert restore(cluster, tmp_path) == 0

    assert cluster.run("SELECT count(*) FROM copy") == [(1,)]
    proof = (SCRIPTS / "backup.sh").read_text().partition("# The proof")[2]
    assert "pg_restore --exit-on-error --enable-row-security --dbname" in proof


def test_the_role_finds_the_extensions(cluster: Cluster, tmp_path: Path) -> None:
    """The service's role can plant nothing for a superuser's extensions in a restored database."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run("CREATE EXTENSION pg_stat_statements")
    process = start(cluster, tmp_path, dumped(cluster))
    url = cluster.url("groundwork", database="groundwork_restored")
    found: list[tuple[object, ...]] = []
    while not found and process.poll() is None:
        with suppress(psycopg2.OperationalError):  # not yet
            found = run(url, "SELECT extname FROM pg_extension")

    assert ("pg_stat_statements",) in found
    assert process.wait() == 0


def test_a_session_of_an_interrupted_restore_is_ended(
    cluster: Cluster, tmp_path: Path, dump: bytes
) -> None:
    """A restore begins anew, also while a session is still in the database of the one before."""
    cluster.run("CREATE DATABASE groundwork_restored")
    with closing(psycopg2.connect(cluster.url("postgres", database="groundwork_restored"))):
        assert start(cluster, tmp_path, dump).wait() == 0


def test_what_is_in_the_template_is_not_copied(cluster: Cluster, tmp_path: Path) -> None:
    """A large object, which any role may put into template1, is in no restored database twice."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    for database in ("template1", "groundwork"):
        run(cluster.url("groundwork", database=database), "SELECT lo_create(4242)")

    assert restore(cluster, tmp_path) == 0


@pytest.mark.parametrize("script", ["backup", "restore"])
@pytest.mark.parametrize("statement", HOSTILE.values(), ids=HOSTILE)
def test_no_code_of_the_role_is_run_by_a_superuser(
    cluster: Cluster, tmp_path: Path, statement: str, script: str
) -> None:
    """The service's role, which writes what is backed up, gets no more rights by it."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run("ALTER DATABASE groundwork OWNER TO groundwork")
    run(cluster.url("groundwork"), ATTACK + statement)
    assert start(cluster, tmp_path, dumped(cluster), script).wait() == 0

    assert not (cluster.data / "taken").exists()


def test_the_schema_is_compared_in_one_time_zone(cluster: Cluster, tmp_path: Path) -> None:
    """A backup's proof compares the same text, whatever ALTER DATABASE sets."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    cluster.run("CREATE TABLE t (a timestamptz DEFAULT '2026-01-01 00:00:00+00')")
    cluster.run("ALTER DATABASE groundwork SET timezone = 'Europe/Berlin'")
    cluster.run("ALTER DATABASE groundwork SET standard_conforming_strings = off")
    assert start(cluster, tmp_path, b"unused", "backup").wait() == 0

    (schema,) = tmp_path.glob("backup.*/schema.source")
    assert "'2026-01-01 00:00:00+00'" in schema.read_text()
    assert "SET standard_conforming_strings = on;" in schema.read_text()


def test_no_timeout_of_the_database_ends_a_backup(cluster: Cluster, tmp_path: Path) -> None:
    """A backup takes as long as it needs, for example for a lock, whatever ALTER DATABASE sets."""
    cluster.run("CREATE ROLE groundwork LOGIN")
    with closing(psycopg2.connect(cluster.url("postgres"))) as session, session.cursor() as cursor:
        cursor.execute("LOCK TABLE installation")
        timeouts = "SELECT name FROM pg_settings WHERE name LIKE '%transaction%timeout'"
        for (name,) in cluster.run(timeouts, database="postgres"):
            cluster.run(f"ALTER DATABASE groundwork SET {name} = '500ms'", database="postgres")
        process = start(cluster, tmp_path, b"unused", "backup")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
    assert process.wait() == 0


def test_the_rows_of_each_table_are_counted(cluster: Cluster) -> None:
    """Tables have a line for the name and one for the rows, in any schema; views have none."""
    cluster.run("CREATE SCHEMA pgx")
    cluster.run("CREATE TABLE pgx.a_table AS SELECT generate_series(1, 3)")
    cluster.run("CREATE VIEW pgx.a_view AS SELECT FROM pgx.a_table")
    command = [str(PROGRAMS / "psql"), cluster.url("postgres"), "--no-align", "--tuples-only"]
    rows = subprocess.check_output([*command, f"--file={SCRIPTS / 'row-counts.sql'}"])

    assert rows.startswith(b"pgx.a_table\nCOPY 3\npublic._groundwork_migration\nCOPY ")


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
