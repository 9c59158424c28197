"""The command line; a command's code is imported only when it runs."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from groundwork import __version__


def main(arguments: list[str] | None = None) -> None:
    """Run one command; without one, print the help."""
    # Process 1 of a container gets no signal without a handler; `serve` and `dev` set others.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    with _standard_streams():
        _run(arguments)


def _run(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser("groundwork", description="Self-hosted project management.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("dev", help="serve with reload and a PostgreSQL of its own")
    commands.add_parser("serve", help="serve in production")
    migrate_parser = commands.add_parser(
        "migrate", help="apply the migrations; any number may run at once"
    )
    migrate_parser.add_argument(
        "--check", action="store_true", help="apply nothing; exit with 1 if any are pending"
    )
    # psql's options are its own, so none starts with a character of ours.
    psql_parser = commands.add_parser("psql", help="open psql on the database", prefix_chars="\0")
    psql_parser.add_argument("arguments", nargs="*")
    probe_parser = commands.add_parser("probe", help="check the running instance; exit 0 or 1")
    probe_parser.add_argument("name", nargs="?", choices=("live", "ready"), default="ready")
    options = parser.parse_args(arguments)
    match options.command:
        case "dev":
            from groundwork.dev import dev

            dev()
        case "serve":
            from groundwork.core.config import settings_or_exit

            settings = settings_or_exit()  # before the slow imports: an error shows at once
            from groundwork.serve import serve

            serve(settings)
        case "migrate":
            from groundwork.core.database.migrations import migrate

            migrate(check=options.check)
        case "psql":
            from groundwork.psql import psql

            psql(options.arguments)
        case "probe":
            from groundwork.probe import probe

            sys.exit(probe(options.name))
        case _:
            parser.print_help()


@contextmanager
def _standard_streams() -> Iterator[None]:
    """Open /dev/null for each closed stream, so that no socket gets its number.

    A reader of stdout that is gone costs the output, not the exit code.
    """
    while os.open(os.devnull, os.O_RDWR) in {0, 1, 2}:
        pass
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")
    try:
        yield
    except BrokenPipeError:
        sys.exit(1)
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # it is flushed again at exit


if __name__ == "__main__":
    main()
