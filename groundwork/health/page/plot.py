"""The plot of the database's latency, as SVG."""

import math
from collections.abc import Iterable
from statistics import median

from groundwork.core.readiness.result import Sample
from groundwork.health.page.status_text import milliseconds

WINDOW_SECONDS = 600
# A line across a longer pause would tell of checks that nobody made.
_PAUSE_SECONDS = 20
# A check ends within a second, so this axis, logarithmic and from 0.1 ms to 1 s, holds every one
# and never moves. The curves are drawn in a box of 600 by 100, stretched to the page's width;
# the labels are outside it, lest they be stretched as well.
_HEIGHT, _TOP, _DECADES = 160, 8, 4


def summary(history: Iterable[Sample], now: float) -> str:
    """Return the plot in words."""
    recent = [one.latency for one in history if now - one.at <= WINDOW_SECONDS]
    answered = [latency for latency in recent if latency is not None]
    checks = f"{len(recent)} check{'' if len(recent) == 1 else 's'} in the last 10 minutes"
    if not answered:
        return f"{checks}, none answered."
    failed = len(recent) - len(answered)
    return (
        f"{checks}, {failed or 'none'} failed. Median {milliseconds(median(answered))}, "
        f"slowest {milliseconds(max(answered))}."
    )


def draw(history: Iterable[Sample], now: float) -> str:
    """Return the svg element; times are of time.monotonic()."""
    recent = [one for one in history if now - one.at <= WINDOW_SECONDS]
    failed = "".join(f"M{_x(one, now)} 0v100" for one in recent if one.latency is None)
    return (
        f'<svg class="plot" role="img" aria-labelledby="plot-title plot-desc" height="192">'
        f'<title id="plot-title">Database latency of the last 10 minutes</title>'
        f'<desc id="plot-desc">{summary(recent, now)}</desc>'
        f"{_grid()}"
        f'<svg y="{_TOP}" width="100%" height="{_HEIGHT}" viewBox="0 0 {WINDOW_SECONDS} 100" '
        f'preserveAspectRatio="none"><path class="failed" d="{failed}"/>'
        f'<path class="latency" d="{_curve(recent, now)}"/></svg>{_labels()}</svg>'
    )


def _grid() -> str:
    lines = (_TOP + step * _HEIGHT // _DECADES for step in range(_DECADES + 1))
    return "".join(f'<line x2="100%" y1="{y}" y2="{y}"/>' for y in lines)


def _labels() -> str:
    units = ("1 s", "100 ms", "10 ms", "1 ms", "0.1 ms")
    heights = (_TOP + step * _HEIGHT // _DECADES + 4 for step in range(_DECADES + 1))
    times = (("0", "start", "10 min ago"), ("50%", "middle", "5 min ago"), ("100%", "end", "now"))
    return "".join(
        [
            f'<text x="-8" y="{y}" text-anchor="end">{unit}</text>'
            for y, unit in zip(heights, units, strict=True)
        ]
        + [f'<text x="{x}" y="188" text-anchor="{at}">{time}</text>' for x, at, time in times]
    )


def _curve(samples: list[Sample], now: float) -> str:
    """Return a path that breaks where nobody asked or nobody answered; one sample is a dot."""
    steps = []
    before = -math.inf
    for sample in samples:
        if sample.latency is None:
            before = -math.inf
            continue
        command = "L" if sample.at - before <= _PAUSE_SECONDS else "M"
        steps.append(f"{command}{_x(sample, now)} {_y(sample.latency)}h0")
        before = sample.at
    return "".join(steps)


def _x(sample: Sample, now: float) -> str:
    return f"{WINDOW_SECONDS - (now - sample.at):.1f}"


def _y(seconds: float) -> str:
    decades = math.log10(max(seconds, 0.0001) / 0.0001)
    return f"{100 - 100 * min(decades / _DECADES, 1):.1f}"
