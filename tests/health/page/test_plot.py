"""The plot of the database's latency."""

import re

import pytest

from groundwork.core.readiness.result import Result
from groundwork.health.page.render import draw, template


def paths(*samples: tuple[float, float | None]) -> tuple[str, str]:
    """Return the paths drawn for checks that ended so many seconds ago."""
    results = [Result("ok", latency=latency, checked_at=1000 - ago) for ago, latency in samples]
    return draw(results, now=1000)


@pytest.mark.parametrize(
    ("latency", "y"),
    [(2, "0.0"), (1, "0.0"), (0.01, "50.0"), (0.0001, "100.0"), (0.00001, "100.0"), (0, "100.0")],
)
def test_the_axis_is_logarithmic(latency: float, y: str) -> None:
    """It goes from 0.1 ms at the bottom to 1 s at the top; values beyond stay on its ends."""
    assert paths((0, latency)) == (f"M600.0 {y}h0", "")


def test_the_axes_are_labelled() -> None:
    """Each decade has a line and, 4 pixels below it, a label; the time axis has three labels."""
    html = template("details.html")

    lines = [int(y) for y in re.findall(r'<line x2="100%" y1="(\d+)" y2="\1"/>', html)]
    labels = re.findall(r'<text x="-8" y="(\d+)" text-anchor="end">(.*?)</text>', html)
    times = re.findall(r'<text x="(\d+%?)" y="188"(?: text-anchor="(\w+)")?>(.*?)</text>', html)
    decades = ["1 s", "100 ms", "10 ms", "1 ms", "0.1 ms"]
    assert lines == [8, 48, 88, 128, 168]
    assert '<svg y="8" width="100%" height="160" viewBox="0 0 600 100"' in html
    assert labels == [(str(y + 4), unit) for y, unit in zip(lines, decades, strict=True)]
    assert times == [
        ("0", "", "10 min ago"),
        ("50%", "middle", "5 min ago"),
        ("100%", "end", "now"),
    ]


def test_neighbours_are_joined() -> None:
    """Checks that follow each other are joined by a line."""
    assert paths((20, 0.01), (0, 0.1)) == ("M580.0 50.0h0L600.0 25.0h0", "")


def test_the_line_breaks() -> None:
    """The line is interrupted where a check failed."""
    assert paths((20, 0.01), (15, None), (10, 0.1))[0].count("M") == 2


def test_failed_checks_are_marked() -> None:
    """A failed check is a line from top to bottom at its time."""
    assert paths((20, None), (10, None)) == ("", "M580.0 0v100M590.0 0v100")
