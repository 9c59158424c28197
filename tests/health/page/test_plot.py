"""The plot of the database's latency."""

import re

import pytest

from groundwork.core.readiness.result import Sample
from groundwork.health.page.plot import draw, summary


def curve(*samples: tuple[float, float | None]) -> str:
    """Return the path drawn for samples of so many seconds ago."""
    drawn = draw([Sample(1000 - ago, latency) for ago, latency in samples], now=1000)
    found = re.search(r'class="latency" d="(.*?)"', drawn)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("latency", "height"),
    [(2, "0.0"), (1, "0.0"), (0.01, "50.0"), (0.0001, "100.0"), (0.00001, "100.0")],
)
def test_the_axis_is_logarithmic(latency: float, height: str) -> None:
    """From 0.1 ms at the bottom to 1 s at the top; what is beyond stays on that line."""
    assert curve((0, latency)) == f"M600.0 {height}h0"


def test_the_axes_are_labelled() -> None:
    """Each decade has its line and, a little below it, its label; the time has three."""
    drawn = draw([], now=1000)

    lines = [int(y) for y in re.findall(r'<line x2="100%" y1="(\d+)" y2="\1"/>', drawn)]
    labels = re.findall(r'<text x="(\S+)" y="(\S+)" text-anchor="(\w+)">(.*?)</text>', drawn)
    decades = ["1 s", "100 ms", "10 ms", "1 ms", "0.1 ms"]
    assert lines == [8, 48, 88, 128, 168]
    assert labels == [
        *(("-8", str(y + 4), "end", unit) for y, unit in zip(lines, decades, strict=True)),
        ("0", "188", "start", "10 min ago"),
        ("50%", "188", "middle", "5 min ago"),
        ("100%", "188", "end", "now"),
    ]


def test_neighbours_are_joined() -> None:
    """Samples of checks that follow each other are one line."""
    assert curve((20, 0.01), (0, 0.1)) == "M580.0 50.0h0L600.0 25.0h0"


@pytest.mark.parametrize(
    "samples", [((31, 0.01), (10, 0.1)), ((20, 0.01), (15, None), (10, 0.1))], ids=["pause", "fail"]
)
def test_the_line_breaks(samples: tuple[tuple[float, float | None], ...]) -> None:
    """Where nobody asked for a while, or a check failed, no line pretends to know."""
    assert curve(*samples).count("M") == 2


def test_failed_checks_are_marked() -> None:
    """A failed check is a line from top to bottom at its time."""
    drawn = draw([Sample(980, None), Sample(990, None)], now=1000)

    assert '<path class="failed" d="M580.0 0v100M590.0 0v100"/>' in drawn


def test_old_checks_are_left_out() -> None:
    """What was longer than ten minutes ago is neither drawn nor counted."""
    assert curve((601, 0.5), (600, 0.01)) == "M0.0 50.0h0"
    assert summary([Sample(399, 0.5), Sample(400, 0.01)], now=1000).startswith("1 check ")


@pytest.mark.parametrize(
    ("latencies", "words"),
    [
        ([], "0 checks in the last 10 minutes, none answered."),
        ([None], "1 check in the last 10 minutes, none answered."),
        (
            [0.001, 0.002, 0.5],
            "3 checks in the last 10 minutes, none failed. Median 2 ms, slowest 500 ms.",
        ),
        (
            [0.001, None],
            "2 checks in the last 10 minutes, 1 failed. Median 1 ms, slowest 1 ms.",
        ),
    ],
)
def test_the_summary_says_it_in_words(latencies: list[float | None], words: str) -> None:
    """Whoever can't see the plot reads what it shows."""
    assert summary([Sample(0, latency) for latency in latencies], now=1) == words
