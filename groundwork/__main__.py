"""The command line; a command's code is imported only when it runs."""

import argparse
import gc
import os
import pkgutil
import signal
import sys

from groundwork import __version__


def main(arguments: list[str] | None = None) -> None:
    """Run one command; without one, print the help."""
    # Where stdin, stdout or stderr is closed, a socket must not take its number and our output.
    while (spare := os.open(os.devnull, os.O_RDWR)) in {0, 1, 2}:
        os.set_inheritable(spare, True)  # noqa: FBT003 - has no name
    os.close(spare)
    # Process 1 of a container gets no signal without a handler; `serve` and `dev` set others.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    parser = argparse.ArgumentParser("groundwork", description="Self-hosted project management.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("dev", help="serve with reload and a PostgreSQL of its own")
    commands.add_parser("serve", help="serve in production")
    migrate = commands.add_parser("migrate", help="apply the migrations that are pending")
    check = "apply nothing; exit with 1 if any are pending"
    migrate.add_argument("--check", action="store_true", help=check)
    # psql's options are its own, so none starts with a character of ours.
    psql = commands.add_parser("psql", help="open psql on the database", prefix_chars="\0")
    psql.add_argument("arguments", nargs="*")
    probe = commands.add_parser("probe", help="check the running instance; exit 0 or 1")
    probe.add_argument("name", nargs="?", choices=("live", "ready"), default="ready")
    options = vars(parser.parse_args(arguments))
    if name := options.pop("command"):
        module = "core.database.migrations" if name == "migrate" else name
        gc.disable()  # what is imported is no garbage
        command = pkgutil.resolve_name(f"groundwork.{module}:{name}")
        gc.enable()
        sys.exit(command(**options))
    parser.print_help()


if __name__ == "__main__":
    main()
