"""What CI publishes: tags of the image, and a release's notes."""

import os
import subprocess
from pathlib import Path

import pytest

from groundwork import __version__

CHECKOUT = Path(__file__).parents[1]
IMAGE = "ghcr.io/example/groundwork"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return the script that stands in for docker, whose registry knows no image yet."""
    script = tmp_path / "docker"
    script.write_text("#!/bin/sh\necho 'manifest unknown' >&2\nexit 1\n")
    script.chmod(0o755)
    return script


def image_tags(registry: Path, kind: str, name: str) -> subprocess.CompletedProcess[str]:
    """Run .ci/image-tags for a push of this branch or tag."""
    environment = {
        "PATH": f"{registry.parent}:{os.environ['PATH']}",
        "GITHUB_REPOSITORY": "Example/Groundwork",
        "GITHUB_REF_TYPE": kind,
        "GITHUB_REF_NAME": name,
        "GITHUB_SHA": "abc",
    }
    return subprocess.run(
        [".ci/image-tags"],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def release_notes(version: str) -> subprocess.CompletedProcess[str]:
    """Run .ci/release-notes for this version."""
    return subprocess.run(
        [".ci/release-notes", version], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


def test_a_push_to_main_publishes_no_version(registry: Path) -> None:
    """It publishes the commit, and moves main."""
    assert image_tags(registry, "branch", "main").stdout.splitlines() == [
        f"image={IMAGE}",
        "version=sha-abc",
        f"tags={IMAGE}:sha-abc,{IMAGE}:main",
    ]


def test_a_git_tag_publishes_its_version(registry: Path) -> None:
    """It publishes the version, and nothing else."""
    assert image_tags(registry, "tag", f"v{__version__}").stdout.splitlines() == [
        f"image={IMAGE}",
        f"version={__version__}",
        f"tags={IMAGE}:{__version__}",
    ]


def test_a_published_version_never_moves(registry: Path) -> None:
    """If the registry has the version already, nothing is published."""
    registry.write_text("#!/bin/sh\necho '{}'\n")

    result = image_tags(registry, "tag", f"v{__version__}")

    assert (result.returncode, result.stdout) == (1, "")
    assert "never moves" in result.stderr


def test_a_registry_that_does_not_respond_publishes_nothing(registry: Path) -> None:
    """Only a registry that says "unknown" has no such version."""
    registry.write_text("#!/bin/sh\necho 'connection refused' >&2\nexit 1\n")

    result = image_tags(registry, "tag", f"v{__version__}")

    assert (result.returncode, result.stdout) == (1, "")
    assert "connection refused" in result.stderr


def test_a_git_tag_must_match_the_code(registry: Path) -> None:
    """A tag that is not the version of the package publishes nothing."""
    result = image_tags(registry, "tag", "v99.0.0")

    assert (result.returncode, result.stdout) == (1, "")
    assert "v99.0.0" in result.stderr


def test_the_changelog_has_notes_for_this_version() -> None:
    """The notes are the section of the version, without its heading and the next section."""
    changelog = (CHECKOUT / "CHANGELOG.md").read_text()

    notes = release_notes(__version__).stdout.strip()

    assert notes
    assert f"## {__version__}\n\n{notes}\n" in changelog


def test_a_version_without_notes_is_no_release() -> None:
    """`.ci/release-notes` fails for a version that CHANGELOG.md does not have."""
    result = release_notes("99.0.0")

    assert (result.returncode, result.stdout) == (1, "")
    assert "99.0.0" in result.stderr
