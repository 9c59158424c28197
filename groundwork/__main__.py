"""The command line; a command's code is imported only when it runs."""

import argparse
import sys

from groundwork import __version__


def main(arguments: list[str] | None = None) -> None:
    """Run one command; without one, print the help."""
    parser = argparse.ArgumentParser("groundwork", description="Self-hosted project management.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("dev", help="serve with reload and a PostgreSQL of its own")
    commands.add_parser("serve", help="serve in production")
    commands.add_parser("migrate", help="apply the migrations; any number may run at once")
    probe_parser = commands.add_parser("probe", help="ask the running instance; exit with 0 or 1")
    probe_parser.add_argument("name", nargs="?", choices=("live", "ready"), default="ready")
    options = parser.parse_args(arguments)
    match options.command:
        case "dev":
            from groundwork.dev import dev

            dev()
        case "serve":
            from groundwork.core.config import settings_or_exit

            settings = settings_or_exit()  # before the rest is imported: a mistake shows at once
            from groundwork.serve import serve

            serve(settings)
        case "migrate":
            from groundwork.core.database.migrations import migrate

            migrate()
        case "probe":
            from groundwork.probe import probe

            sys.exit(probe(options.name))
        case _:
            parser.print_help()


if __name__ == "__main__":
    main()
