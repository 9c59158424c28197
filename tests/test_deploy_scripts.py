"""The scripts in deploy/compose, run with a fake docker that records its arguments."""

import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from psycopg2.extensions import parse_dsn

from groundwork import __version__
from tests.databases import bare_environment

CHECKOUT = Path(__file__).parents[1]
DECLARED = yaml.safe_load((CHECKOUT / "compose.production.yaml").read_text())
DOCKER = """#!/bin/sh
: "${GROUNDWORK_VERSION:?}"
echo "$*" >>calls
case "$*" in
*"config --volumes") echo database-18 ;;
*" config") echo "name: ${COMPOSE_PROJECT_NAME:-groundwork-production}" ;;
"volume ls"*) cat volumes ;;
"ps "*"name=^"*) echo "$*" | sed 's/.*name=^//; s/.$//' | grep -xFf - containers ;;
"ps "*) cat containers ;;
*" migrate" | *" backup" | *" restore") cat failure 2>/dev/null && exit 1 || cat dump ;;
esac
"""


class Host:
    """A server with a checkout, whose docker is the one above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(CHECKOUT / "deploy/compose", folder / "deploy/compose")
        shutil.copy(CHECKOUT / "compose.production.yaml", folder)
        (folder / "groundwork").mkdir()
        shutil.copy(CHECKOUT / "groundwork/__init__.py", folder / "groundwork")
        (folder / "docker").write_text(DOCKER)
        (folder / "docker").chmod(0o755)
        for name in ("calls", "volumes", "containers", "dump"):
            (folder / name).touch()

    def run(self, script: str, *arguments: str, **environment: str) -> int:
        """Run one of the scripts; return its exit code."""
        docker = {"DOCKER": str(self.folder / "docker")}
        command = [str(self.folder / "deploy/compose" / script), *arguments]
        return subprocess.run(
            command, env=bare_environment() | docker | environment, cwd=self.folder, check=False
        ).returncode

    def calls(self, part: str) -> list[int]:
        """Return the positions of docker's calls that have this part."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [number for number, line in enumerate(lines) if part in line]

    def version(self) -> str:
        """Return the content of .env."""
        return (self.folder / ".env").read_text()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a server on which version 1 runs."""
    host = Host(tmp_path)
    (tmp_path / ".env").write_text("DOMAIN=example.org\nGROUNDWORK_VERSION=1\nLOG_LEVEL=INFO\n")
    (tmp_path / "containers").write_text("app\n")
    host.run("secrets")
    return host


@pytest.mark.parametrize("script", ["upgrade", "backup", "restore"])
def test_a_strict_umask_does_not_hide_the_scripts(host: Host, script: str) -> None:
    """With umask 077, a checkout and copied secrets would be unreadable in the containers."""
    folder = host.folder / "deploy/compose/database"
    folder.chmod(0o700)
    (folder / "role.sql").chmod(0o600)
    secret = host.folder / "secrets/ops_token"
    secret.chmod(0o600)

    assert host.run(script, *(["dump"] if script == "restore" else [])) == 0

    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "role.sql").stat().st_mode) == 0o644
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644


def test_secrets_are_made_once(host: Host) -> None:
    """A second run of `secrets` changes no file, so it breaks no installation."""
    folder = host.folder / "secrets"

    first = {path.name: path.read_text() for path in folder.iterdir()}
    host.run("secrets")

    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    assert set(first) == set(DECLARED["secrets"])
    assert len(set(first.values())) == len(first)
    assert min(len(value) for value in first.values()) > 64  # 32 random bytes


@pytest.mark.parametrize("password", [None, "a/b@c%d?e#f", 'it\'s \\ a "$HOME" & |'])
def test_the_address_has_the_password(host: Host, password: str | None) -> None:
    """A password that the operator has chosen may have any character, as a generated one."""
    folder = host.folder / "secrets"
    file, address = folder / "database_password", folder / "database_url"
    if password is not None:
        address.unlink()
        file.unlink()
        file.write_text(f"{password}\n")

    assert host.run("secrets") == 0

    parts = parse_dsn(address.read_text().strip())
    assert parts.pop("password") == file.read_text().strip()
    assert parts == dict.fromkeys(("user", "dbname"), "groundwork") | {"host": "db", "port": "5432"}


def test_secrets_are_readable_in_containers_only(host: Host) -> None:
    """Any UID may read the files, mounted one by one; only the owner may enter the folder."""
    folder = host.folder / "secrets"

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}


@pytest.mark.parametrize("script", ["upgrade", "backup", "restore"])
def test_nothing_starts_without_a_secret(
    host: Host, script: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The database would restart for ever, with a folder that podman makes in the file's place."""
    (host.folder / "secrets/database_url").unlink()
    (host.folder / "secrets/database_url").mkdir()

    assert host.run(script, *(["dump"] if script == "restore" else [])) == 1

    assert "There is no file secrets/database_url." in capfd.readouterr().err
    assert not host.calls("")
    shutil.rmtree(host.folder / "secrets")
    assert host.run(script, *(["dump"] if script == "restore" else [])) == 1
    assert "There is no file secrets/" in capfd.readouterr().err


def test_what_is_no_secret_is_replaced(host: Host) -> None:
    """Podman makes a folder of a missing file, and a full disk leaves an empty one."""
    folder, empty = (host.folder / "secrets" / name for name in ("database_password", "ops_token"))
    folder.unlink()
    folder.mkdir()
    empty.write_text("")

    assert host.run("secrets") == 0

    assert folder.is_file()
    assert empty.read_text()


def test_secrets_are_made_in_the_checkout(host: Host) -> None:
    """The folder in which the script is called does not count."""
    shutil.rmtree(host.folder / "secrets")
    script = host.folder / "deploy/compose/secrets"

    subprocess.run([script], cwd=script.parent, env=bare_environment(), check=True)

    assert (host.folder / "secrets/ops_token").is_file()


def test_an_upgrade_migrates_and_waits_before_it_replaces(host: Host) -> None:
    """The new release migrates, is ready, gets requests beside the old one, and replaces it."""
    assert host.run("upgrade", "2") == 0

    (migrate,) = host.calls("run --no-deps --name groundwork-production-migrate")
    (joins,) = host.calls("--use-aliases --name groundwork-production-next")
    removed = host.calls("rm --force groundwork-production-next")[1]
    ready, still_ready = host.calls("exec groundwork-production-next groundwork probe")
    replace = host.calls("up --detach --wait")[-1]
    assert migrate < ready < removed < joins < still_ready < replace
    assert host.version() == "DOMAIN=example.org\nLOG_LEVEL=INFO\nGROUNDWORK_VERSION=2\n"


def test_the_same_version_is_not_started_beside_itself(host: Host) -> None:
    """Run again, `upgrade` migrates and applies changed settings, no more."""
    assert host.run("upgrade", "1") == 0

    assert not host.calls("--name groundwork-production-next")
    assert host.calls("up --detach --wait")


def test_the_container_of_a_failed_migration_is_replaced(host: Host) -> None:
    """It is kept with its log, and would be in the way of the next upgrade; no other is kept."""
    assert host.run("upgrade", "2") == 0

    (run,) = host.calls("--name groundwork-production-migrate migrate")
    (before,) = host.calls("rm --volumes groundwork-production-migrate")
    (after,) = host.calls("rm groundwork-production-migrate")
    assert before < run < after


def test_a_failed_migration_leaves_the_old_release_in_place(host: Host) -> None:
    """Nothing but the database's container is touched, and the version stays what it was."""
    (host.folder / "failure").touch()

    assert host.run("upgrade", "2") == 1

    assert host.calls("up --detach --wait") == host.calls("up --detach --wait db")
    assert "GROUNDWORK_VERSION=1\n" in host.version()


@pytest.mark.parametrize(
    ("running", "probes"), [("app\n", 1), ("app\ngroundwork-production-next\n", 60)]
)
def test_a_release_that_does_not_become_ready_replaces_nothing(
    host: Host, running: str, probes: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the new container ends, or takes a minute, the version stays what it was."""
    (host.folder / "containers").write_text(running)
    (host.folder / "docker").write_text(DOCKER.replace('"ps "*)', '"exec "*) exit 1 ;;\n"ps "*)'))
    (host.folder / "sleep").symlink_to("/bin/true")

    assert host.run("upgrade", "2", PATH=f"{host.folder}:{os.environ['PATH']}") == 1

    assert "1 was not replaced." in capfd.readouterr().err
    assert len(host.calls("exec ")) == probes
    assert host.calls("up --detach --wait") == host.calls("up --detach --wait db")
    assert not host.calls("--use-aliases")
    assert host.calls("rm --force groundwork-production-next")
    assert "GROUNDWORK_VERSION=1\n" in host.version()


def test_a_service_that_does_not_start_is_explained(host: Host) -> None:
    """A setting that stops `serve` or Caddy restarts it for ever; `upgrade` ends, and shows why."""
    script = host.folder / "docker"
    script.write_text(DOCKER.replace('"ps "*)', '*"--wait --wait-timeout 120") exit 1 ;;\n"ps "*)'))

    assert host.run("upgrade", "1") == 1

    (shown,) = host.calls("logs")
    assert (host.folder / "calls").read_text().splitlines()[shown].endswith("logs --tail 20")


def test_what_an_interrupted_upgrade_left_is_removed(host: Host) -> None:
    """A new release that still serves beside the app ends when `upgrade` is run again."""
    (host.folder / "containers").write_text("app\ngroundwork-production-next\n")

    assert host.run("upgrade", "1") == 0

    (end,) = host.calls("stop -t 20 groundwork-production-next")
    assert host.calls("up --detach --wait")[-1] < end


def test_an_interrupted_upgrade_leaves_no_new_release(host: Host) -> None:
    """SIGTERM while the new release starts removes it, and the version stays what it was."""
    script = host.folder / "docker"
    script.write_text(DOCKER.replace('"ps "*)', '"exec "*) kill $PPID ;;\n"ps "*)'))

    assert host.run("upgrade", "2") == 1

    assert host.calls("rm --force groundwork-production-next")[-1] > host.calls("exec")[-1]
    assert "GROUNDWORK_VERSION=1\n" in host.version()


def test_a_running_migration_is_not_ended(host: Host) -> None:
    """A second `upgrade` leaves the migration of the first alone."""
    (host.folder / "containers").write_text("app\ngroundwork-production-migrate\n")

    assert host.run("upgrade", "2") == 1

    assert not host.calls("rm --force")
    assert not host.calls("run")


@pytest.mark.parametrize(("mounted", "restarts"), [("Caddyfile", 0), ("database/role.sql", 1)])
def test_caddy_gets_the_configuration_of_a_release(host: Host, mounted: str, restarts: int) -> None:
    """Caddy restarts if the file in its container is not that of the checkout."""
    shown = f'"exec "*Caddyfile) cat "deploy/compose/{mounted}" ;;\n'
    (host.folder / "docker").write_text(DOCKER.replace('*" migrate"', shown + '*" migrate"'))

    assert host.run("upgrade", "2") == 0

    assert len(host.calls("restart caddy")) == restarts


def test_caddy_keeps_its_configuration_if_that_of_a_release_is_invalid(host: Host) -> None:
    """A restart would be an outage: Caddy would restart for ever."""
    script = host.folder / "docker"
    script.write_text(DOCKER.replace('"ps "*)', '*"caddy validate"*) exit 1 ;;\n"ps "*)', 1))

    assert host.run("upgrade", "2") == 1

    assert not host.calls("restart caddy")


@pytest.mark.skipif(shutil.which("flock") is None, reason="only Linux has flock")
@pytest.mark.parametrize("second", ["backup", "restore dump", "upgrade 3"])
def test_one_script_runs_at_a_time(
    host: Host, second: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A second one does nothing, and containers of the first do not keep its lock."""
    again = (
        f'*"--wait db") mkdir again && {{ deploy/compose/{second} || touch refused; }}; true ;;\n'
    )
    keep = '*"--wait-timeout 120") sleep 1 & ;;\n'
    (host.folder / "docker").write_text(DOCKER.replace('*" migrate"', again + keep + '*" migrate"'))

    assert host.run("upgrade", "2") == 0

    assert (host.folder / "refused").exists()
    assert "Another backup, restore or upgrade is running." in capfd.readouterr().err
    assert host.run("upgrade", "2") == 0


def test_a_killed_script_does_not_keep_the_lock(host: Host) -> None:
    """What it started may live on, until the next script removes its container."""
    script = host.folder / "docker"
    script.write_text(
        DOCKER.replace('*" migrate"', '*" backup") kill -KILL $PPID; sleep 3 ;;\n*" migrate"')
    )
    killed = host.run("backup")
    script.write_text(DOCKER)

    assert (killed, host.run("backup")) == (-signal.SIGKILL, 0)


@pytest.mark.parametrize("script", ["upgrade", "backup", "restore"])
def test_a_script_may_be_called_through_a_link(host: Host, script: str) -> None:
    """A link in /etc/cron.daily, or a CDPATH that is exported, leads to no other folder."""
    (host.folder / "dump").write_text("dump")
    (host.folder / "bin").mkdir()
    (host.folder / "bin/link").symlink_to(host.folder / "deploy/compose" / script)
    arguments = {"upgrade": ["2"], "backup": ["backups"], "restore": ["dump"]}[script]

    assert host.run("../../bin/link", *arguments, CDPATH=".:/tmp") == 0

    assert host.calls("--file compose.production.yaml")


def test_an_upgrade_is_of_the_project_that_compose_names(host: Host) -> None:
    """COMPOSE_PROJECT_NAME names the database, and the app that the new one starts beside."""
    assert host.run("upgrade", "2", COMPOSE_PROJECT_NAME="mine") == 0

    assert host.calls("ps --quiet --filter label=com.docker.compose.project=mine")
    assert host.calls("exec mine-next groundwork probe")


@pytest.mark.parametrize(
    "line",
    [
        '"registry/image"',
        "'registry/image'",
        "registry/image # ours",
        "other\nGROUNDWORK_IMAGE=registry/image",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_settings_are_read_as_compose_reads_them(host: Host, line: str, end: str) -> None:
    """The last line counts; quotes, comments and Windows' line ends are no part of a value."""
    (host.folder / ".env").write_bytes(f"GROUNDWORK_IMAGE={line}{end}".encode())

    assert host.run("upgrade", "2") == 0

    assert host.calls("image inspect registry/image:2")


def test_an_image_is_built_once_per_version(host: Host) -> None:
    """Without git the image has the version of the code; one that is there is not built again."""
    script = host.folder / "docker"
    script.write_text(DOCKER.replace('"ps "*)', '"image "*) exit 1 ;;\n"ps "*)'))

    assert host.run("upgrade") == 0
    script.write_text(DOCKER)
    assert host.run("upgrade") == 0

    (build,) = host.calls(f"--tag localhost/groundwork:{__version__} ")
    assert host.calls(f"--label org.opencontainers.image.version={__version__} ") == [build]
    assert f"GROUNDWORK_VERSION={__version__}\n" in host.version()


def test_tracing_needs_an_image_of_its_own(host: Host) -> None:
    """GROUNDWORK_OTEL, set after the version was built, builds an image that exports traces."""
    script = host.folder / "docker"
    script.write_text(
        DOCKER.replace('"ps "*)', f'"image "*:{__version__}-otel) exit 1 ;;\n"ps "*)')
    )

    for value in ("false", "true"):
        (host.folder / ".env").write_text(f"GROUNDWORK_OTEL={value}\n")
        assert host.run("upgrade") == 0

    (build,) = host.calls("build ")
    assert host.calls("--build-arg OTEL=-otel .") == [build]
    assert host.calls(f"--tag localhost/groundwork:{__version__}-otel ") == [build]


def test_a_checkout_that_git_refuses_is_not_built(host: Host) -> None:
    """Git refuses a checkout of another user; the version of the code names older images, too."""
    (host.folder / ".git").mkdir()
    (host.folder / "git").write_text("#!/bin/sh\nexit 128\n")
    (host.folder / "git").chmod(0o755)

    assert host.run("upgrade", PATH=f"{host.folder}:{os.environ['PATH']}") == 1

    assert host.calls("") == host.calls(" config")


@pytest.mark.parametrize("version", ["2.0", "2.0-dirty"])
def test_a_tag_is_a_version_without_its_v(host: Host, version: str) -> None:
    """v2.0 is built as 2.0, once; a checkout with changes each time, as they may be others."""
    (host.folder / ".git").mkdir()
    (host.folder / "git").write_text(f"#!/bin/sh\necho v{version}\n")
    (host.folder / "git").chmod(0o755)
    script = host.folder / "docker"
    script.write_text(DOCKER.replace('"ps "*)', '"image "*:2.0) exit 1 ;;\n"ps "*)'))

    assert host.run("upgrade", PATH=f"{host.folder}:{os.environ['PATH']}") == 0

    assert host.calls(f"--tag localhost/groundwork:{version} ")


def test_another_version_is_not_built_from_this_checkout(host: Host) -> None:
    """If there is no image of that version, nothing is changed."""
    script = host.folder / "docker"
    script.write_text(DOCKER.replace('"ps "*)', '"image "*) exit 1 ;;\n"ps "*)'))

    assert host.run("upgrade", "9.9.9") == 1

    assert not host.calls("build")
    assert not host.calls("up")


def test_the_first_installation_has_nothing_to_keep(host: Host) -> None:
    """Without a version in .env, the new one is noted first, so that compose can be used."""
    (host.folder / ".env").unlink()
    (host.folder / "containers").write_text("")
    (host.folder / "failure").touch()

    assert host.run("upgrade", "v1") == 1

    assert host.version() == "GROUNDWORK_VERSION=1\n"
    assert not host.calls("groundwork-production-next")


@pytest.mark.parametrize(
    ("running", "said"), [("", "Nothing serves."), ("app", "1 was not replaced;")]
)
def test_a_failure_says_what_stays(
    host: Host, capfd: pytest.CaptureFixture[str], running: str, said: str
) -> None:
    """After a failed installation nothing serves; what is kept may serve or crash-loop."""
    (host.folder / "containers").write_text(running)
    (host.folder / "failure").touch()

    assert host.run("upgrade", "2") == 1

    assert said in capfd.readouterr().err


def test_the_version_is_noted_where_a_link_leads(host: Host) -> None:
    """Settings that are kept elsewhere, with .env as a link to them, stay there, and private."""
    (host.folder / "settings").write_text("LOG_LEVEL=INFO\n")
    (host.folder / ".env").unlink()
    (host.folder / ".env").symlink_to("settings")
    (host.folder / "settings").chmod(0o600)

    assert host.run("upgrade", "2") == 0

    assert stat.S_IMODE((host.folder / "settings").stat().st_mode) == 0o600
    assert (host.folder / "settings").read_text() == "LOG_LEVEL=INFO\nGROUNDWORK_VERSION=2\n"
    assert (host.folder / ".env").is_symlink()


def test_data_of_another_major_version_is_not_passed_over(host: Host) -> None:
    """A database of another PostgreSQL is not replaced by an empty one; nothing is touched."""
    (host.folder / "volumes").write_text("groundwork-production_database-17\n")

    assert host.run("upgrade", "2") == 1

    assert not host.calls("up")
    assert not host.calls("run")


def test_only_a_proven_dump_is_a_backup(host: Host) -> None:
    """Where the comparison fails, what was written so far does not stay."""
    (host.folder / "failure").write_text("half a dump")

    assert host.run("backup", "backups") == 1

    assert list((host.folder / "backups").iterdir()) == []


def test_a_backup_gets_the_password_on_stdin(host: Host) -> None:
    """No file of the container has it, where the proof runs code of the service's role."""
    script = DOCKER.replace('*" migrate"', '*" backup") cat >given ;;\n*" migrate"')
    (host.folder / "docker").write_text(script)

    assert host.run("backup", "backups") == 0

    password = (host.folder / "secrets/superuser_password").read_text()
    assert (host.folder / "given").read_text() == password


def test_a_backup_is_private_and_has_a_checksum(host: Host) -> None:
    """Only its owner can read the dump; a metric has the time of the backup."""
    (host.folder / "dump").write_text("dump")

    assert host.run("backup", "backups", TEXTFILE_FOLDER=str(host.folder)) == 0

    dump, checksum = sorted((host.folder / "backups").iterdir())
    assert (dump.read_text(), stat.S_IMODE(dump.stat().st_mode)) == ("dump", 0o600)
    assert checksum.name == f"{dump.name}.sha256"
    assert host.run("restore", str(dump)) == 0
    metric = (host.folder / "groundwork.prom").read_text()
    assert "\ngroundwork_backup_last_success_timestamp_seconds " in metric


def test_a_backup_without_its_checksum_is_none(host: Host) -> None:
    """On a full disk no dump is left that `restore` would refuse, or could not check."""
    (host.folder / "dump").write_text("PGDMP")
    (host.folder / "sha256sum").write_text("#!/bin/sh\nexit 1\n")
    (host.folder / "sha256sum").chmod(0o755)

    assert host.run("backup", PATH=f"{host.folder}:{os.environ['PATH']}") == 1

    assert not list((host.folder / "backups").iterdir())


@pytest.mark.parametrize("script", ["backup", "restore"])
def test_a_script_uses_the_containers_of_its_project(host: Host, script: str) -> None:
    """Two installations on one server do not share a name, so their backups run at one time."""
    (host.folder / "containers").write_text(f"groundwork-production-{script}\n")

    assert (
        host.run(script, "dump" if script == "restore" else "o", COMPOSE_PROJECT_NAME="mine") == 0
    )

    assert host.calls(f"run --no-deps --no-TTY --name mine-{script} {script}")
    assert not host.calls(f"groundwork-production-{script}")


@pytest.mark.parametrize("script", ["backup", "restore"])
def test_an_interrupted_run_starts_nothing_later(host: Host, script: str) -> None:
    """SIGTERM ends docker too, which would go on to make the container and replace the data."""
    late = f'*" {script}") kill $PPID; sleep 1; echo started >>calls ;;\n*" migrate"'
    (host.folder / "docker").write_text(DOCKER.replace('*" migrate"', late))

    assert host.run(script, "backups" if script == "backup" else "dump") == 1
    time.sleep(1.5)

    assert not host.calls("started")


def test_what_a_crash_left_is_removed(host: Host) -> None:
    """A backup removes the unfinished dump and the container of one that was killed."""
    (host.folder / "backups").mkdir()
    (host.folder / "backups/groundwork-20260101T000000Z.dump.part").touch()

    assert host.run("backup", "backups") == 0

    removed = host.calls("rm --force --volumes groundwork-production-backup")
    assert removed[0] < host.calls("run ")[0]
    assert not list((host.folder / "backups").glob("*.part"))


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_an_interrupted_backup_leaves_nothing(host: Host, number: int) -> None:
    """Neither a part of a dump nor a container stays, so the next backup can run."""
    script = host.folder / "docker"
    script.write_text(
        DOCKER.replace('*" migrate"', f'*" backup") kill -{number} $PPID; sleep 3 ;;\n*" migrate"')
    )

    assert host.run("backup", "backups") == 1

    assert list((host.folder / "backups").iterdir()) == []
    removed = host.calls("rm --force --volumes groundwork-production-backup")
    assert removed[-1] > host.calls("run ")[-1]


def test_old_backups_are_removed_from_their_folder_only(host: Host) -> None:
    """BACKUP_KEEP_DAYS works where the folder is a link, and leaves subfolders and others alone."""
    (host.folder / "disk/archive").mkdir(parents=True)
    (host.folder / "backups").symlink_to("disk")
    (host.folder / "disk/groundwork-2025.dump.d").mkdir()
    names = ("old.dump", "old.dump.sha256", "archive/old.dump", "old.dump.d/file", "other.dump")
    files = [host.folder / "disk" / name.replace("old", "groundwork-2025") for name in names]
    for file in files:
        file.touch()
        os.utime(file, (0, 0))
        os.utime(file.parent, (0, 0))

    assert host.run("backup", "backups") == 0

    assert [file.exists() for file in files] == [False, False, True, True, True]


def test_zero_days_keep_all_backups(host: Host) -> None:
    """BACKUP_KEEP_DAYS=0 removes none, however old it is."""
    old = host.folder / "backups/groundwork-20250101T000000Z.dump"
    old.parent.mkdir()
    old.touch()
    os.utime(old, (0, 0))

    assert host.run("backup", "backups", BACKUP_KEEP_DAYS="0") == 0

    assert old.exists()


def test_an_invalid_number_of_days_is_refused(host: Host) -> None:
    """BACKUP_KEEP_DAYS=7d would keep all backups, silently, until the disk is full."""
    assert host.run("backup", "backups", BACKUP_KEEP_DAYS="7d") == 1

    assert not host.calls("run")


@pytest.mark.parametrize("name", ["groundwork.part", "groundwork.prom"])
def test_the_metric_of_a_backup_follows_no_link(host: Host, name: str) -> None:
    """Whoever owns TEXTFILE_FOLDER cannot let root overwrite a file, or open it to all."""
    (host.folder / "shadow").write_text("root")
    (host.folder / "shadow").chmod(0o600)
    (host.folder / "textfile").mkdir()
    (host.folder / "textfile" / name).symlink_to(host.folder / "shadow")

    assert host.run("backup", "backups", TEXTFILE_FOLDER=str(host.folder / "textfile")) == 0

    assert (host.folder / "shadow").read_text() == "root"
    assert stat.S_IMODE((host.folder / "shadow").stat().st_mode) == 0o600
    assert stat.S_IMODE((host.folder / "textfile/groundwork.prom").lstat().st_mode) == 0o644


def test_a_backup_stays_without_its_metric(host: Host) -> None:
    """If TEXTFILE_FOLDER is missing, `backup` fails, but the dump is there."""
    assert host.run("backup", "backups", TEXTFILE_FOLDER="/does/not/exist") != 0

    assert len(list((host.folder / "backups").iterdir())) == 2


@pytest.mark.parametrize("name", ["backups/typo.dump", "groundwork_before_typo", "deploy", ""])
def test_what_is_no_file_is_not_restored(
    host: Host, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started for a dump that does not exist."""
    assert host.run("restore", name) == 1

    assert f'There is no file "{name}".' in capfd.readouterr().err
    assert host.calls("") == host.calls(" config")


def test_a_dump_may_have_any_name(host: Host) -> None:
    """A hyphen in front is no option, and white space separates nothing."""
    (host.folder / "-my dump").touch()

    assert host.run("restore", "-my dump") == 0


def test_a_backup_can_be_restored(host: Host) -> None:
    """Its checksum is of the file beside it, in whatever folder that is."""
    host.run("backup", "backups")
    dump, _ = sorted((host.folder / "backups").iterdir())

    assert host.run("restore", str(dump)) == 0


def test_a_changed_dump_is_not_restored(host: Host) -> None:
    """A dump that does not match its checksum never reaches the database."""
    host.run("backup", "backups")
    dump, _ = sorted((host.folder / "backups").iterdir())
    dump.write_text("changed")

    assert host.run("restore", str(dump)) == 1

    assert not host.calls(" restore")


def test_a_restore_starts_the_database_only(host: Host) -> None:
    """It works on a new server too, before any version of the service runs."""
    assert host.run("restore", str(host.folder / "dump")) == 0

    (up,) = host.calls("up ")
    (restore,) = host.calls("groundwork-production-restore restore")
    assert host.calls("up --detach --wait db") == [up]
    assert up < restore


def test_the_database_before_is_put_back_by_name(host: Host) -> None:
    """A name that a restore printed is passed on in place of a dump."""
    assert host.run("restore", "groundwork_before_20260101_000000") == 0

    assert host.calls(" restore groundwork_before_20260101_000000")
