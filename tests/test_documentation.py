"""README.md and docs/ are held to the repository: commands, settings, links and contents."""

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from prometheus_client import REGISTRY

from groundwork.__main__ import main
from groundwork.core.config import Settings
from groundwork.core.readiness.result import REASONS
from tests.openapi.description import PATHS

CHECKOUT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/operations.md", "docs/development.md")
LINKING = (*DOCUMENTS, "SECURITY.md", "CHANGELOG.md")
# The sections whose `sh` commands CI cannot run, and why. It runs all others.
RUN_BY_HAND = {
    "On Kubernetes": "needs a cluster with the CloudNativePG operator",
    "Mutation tests": "takes hours",
    "Benchmarks": "needs wrk and an otherwise idle machine",
}


def read(name: str) -> str:
    """Return the text of a file of the checkout."""
    return (CHECKOUT / name).read_text()


def sections(name: str) -> Iterator[tuple[str, str]]:
    """Yield each heading of a document with the `sh` commands below it, which may be none."""
    heading, fence, commands = "", "", ""
    for line in read(name).splitlines():
        if line.startswith("```"):
            fence = "" if fence else line
        elif not fence and line.startswith("#"):
            yield heading, commands
            heading, commands = line.lstrip("#").strip(), ""
        elif fence == "```sh":
            commands += f"{line}\n"
    yield heading, commands


def documented() -> list[tuple[str, str]]:
    """Return each section that has `sh` commands, and the commands."""
    return [pair for name in DOCUMENTS for pair in sections(name) if pair[1]]


def anchors(name: str) -> list[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = [heading.lower() for heading, _ in sections(name)]
    return [re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings]


def test_ci_runs_the_documented_commands() -> None:
    """CI runs the commands of every section, but for those listed with a reason."""
    scripts = read(".ci/run") + read(".github/workflows/ci.yml")

    run = re.findall(r"\.ci/readme '([^']+)'", scripts)

    assert sorted(heading for heading, _ in documented()) == sorted([*run, *RUN_BY_HAND])


@pytest.mark.parametrize(("section", "commands"), documented())
def test_ci_finds_the_commands_of_a_section(section: str, commands: str) -> None:
    """`.ci/readme SECTION` prints the `sh` commands of that section."""
    printed = subprocess.check_output([".ci/readme", section], cwd=CHECKOUT, text=True)

    assert printed == commands


def test_ci_reads_the_commands_with_any_cdpath(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported CDPATH makes cd print the folder, which is no command."""
    monkeypatch.setenv("CDPATH", ".:/tmp")

    printed = subprocess.check_output([".ci/readme", "Benchmarks"], cwd=CHECKOUT, text=True)

    assert printed == "uv run python -m benchmarks\n"


def test_ci_refuses_a_section_without_commands() -> None:
    """`.ci/readme` fails for a section that has no commands, and names it."""
    result = subprocess.run(
        [".ci/readme", "Licence"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (1, "")
    assert "Licence" in result.stderr


def test_the_readme_is_short() -> None:
    """The README has 1,200 words at most; the rest belongs in docs/."""
    assert len(read("README.md").split()) <= 1200


def test_the_readme_shows_the_example() -> None:
    """Each line of Python in the README is a line of the example feature."""
    shown = re.findall(r"^ *```python$(.*?)^ *```$", read("README.md"), re.MULTILINE | re.DOTALL)
    files = (CHECKOUT / "examples/notes/groundwork").rglob("*.py")
    lines = {line for path in files for line in path.read_text().splitlines()}

    assert shown
    assert set(dedent("".join(shown)).splitlines()) <= lines


def test_the_example_takes_the_next_number(tmp_path: Path) -> None:
    """It can be added beside the migrations of other features."""
    for name in ("groundwork", "sql", "tests/core/database"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    (tmp_path / "sql/migrations/9008.create-box.sql").touch()

    subprocess.run([CHECKOUT / "examples/notes/apply"], cwd=tmp_path, check=True)

    *_, last, rollback, forward = sorted(path.name for path in tmp_path.glob("sql/migrations/*"))
    assert last == "9008.create-box.sql"
    assert [rollback, forward] == ["9009.create-note.rollback.sql", "9009.create-note.sql"]


@pytest.mark.parametrize("name", LINKING)
def test_links_lead_somewhere(name: str) -> None:
    """Each relative link names an existing file, and its anchor an existing heading."""
    prose = re.sub(r"^ *```.*?^ *```$", "", read(name), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose)

    targets = [(Path(name).parent / path if path else Path(name), anchor) for path, anchor in links]

    assert [path for path, _ in targets if not (CHECKOUT / path).exists()] == []
    assert [link for link in targets if link[1] and link[1] not in anchors(str(link[0]))] == []


@pytest.mark.parametrize("name", LINKING)
def test_named_files_exist(name: str) -> None:
    """Each file or folder of the checkout that a document names exists."""
    folders = r"\.ci|\.github|benchmarks|deploy|docs|groundwork|sql|tests"

    named = set(re.findall(rf"`((?:{folders})/[\w./-]*)`", read(name)))
    assert named
    assert [path for path in named if "note" not in path and not (CHECKOUT / path).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS[1:])
def test_the_contents_list_every_section(name: str) -> None:
    """The table of contents on top of a document has each of its sections, in order."""
    listed = re.findall(r"^- \[(.+)\]\(#.+\)$", read(name), re.MULTILINE)

    assert listed == re.findall(r"^## (.+)$", read(name), re.MULTILINE)


def test_the_documentation_explains_every_setting() -> None:
    """The table in docs/operations.md has each setting of the code with its default."""
    rows = re.findall(r"^\| (`[A-Z].+`) \| (.*?) ?\|", read("docs/operations.md"), re.MULTILINE)
    table = {
        name.strip("`"): default
        for names, defaults in rows
        for name, default in zip(names.split(", "), defaults.split(", "), strict=True)
    }

    assert table == {field.name.upper(): shown(field) for field in dataclasses.fields(Settings)}


def documented_names(pattern: str) -> set[str]:
    """Return the names in the first column of a table in docs/operations.md."""
    cells = re.findall(r"^\| (`.+?`) \|", read("docs/operations.md"), re.MULTILINE)
    return {name for cell in cells for name in re.findall(rf"`({pattern})", cell)}


def test_the_documentation_explains_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The table in docs/operations.md has each command of `groundwork --help`."""
    main([])
    listed = re.findall(r"^    ([a-z]+)  ", capsys.readouterr().out, re.MULTILINE)

    assert listed
    assert documented_names("groundwork [a-z]+") == {f"groundwork {name}" for name in listed}


def test_the_documentation_explains_every_route() -> None:
    """The table in docs/operations.md has each route for operators: none of a feature's."""
    rooms = {path: one["tags"] for path, entry in PATHS.items() for one in entry.values()}
    routes = {path for path, tags in rooms.items() if tags in (["health"], ["openapi"])}

    assert documented_names("/[a-z/.]*") == routes


def test_the_documentation_explains_every_metric() -> None:
    """The table in docs/operations.md has each metric of the service, by its exported name."""
    prefixes = ("http_", "db_", "groundwork_")
    families = [one for one in REGISTRY.collect() if one.name.startswith(prefixes)]

    suffixes = {"counter": "_total", "info": "_info"}
    exported = {one.name + suffixes.get(one.type, "") for one in families}
    assert documented_names("[a-z]+_[a-z_]+") == exported


def test_the_documentation_explains_every_reason() -> None:
    """The table of failures in docs/operations.md has each reason of readiness."""
    rows = re.findall(
        r"^\| .+ \| (?:503|200) (.+) \| .+ \|$", read("docs/operations.md"), re.MULTILINE
    )

    reasons = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert set(REASONS) - {"ok"} <= reasons


def shown(field: dataclasses.Field[object]) -> str:
    """Return a setting's default as the table shows it."""
    match field.default:
        case bool(value):
            return str(value).lower()
        case float(value):
            return f"{value:g}"
        case str() if field.name == "secret_key":
            return "a development value"
        case int() | str() as value:
            return str(value)
        case _:
            return ""
