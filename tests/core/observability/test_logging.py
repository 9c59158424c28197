"""Log lines."""

import dataclasses
import json
import logging
import re
import sys
from datetime import datetime
from typing import Any

import pytest

from groundwork.core.config import Settings
from groundwork.core.observability.log_queue import QueueHandler
from groundwork.core.observability.logging import Json, Readable, configure_logging, request_id


def record(message: str = "hello", **extra: Any) -> logging.LogRecord:
    """Return the record that a call with this extra makes."""
    return logging.getLogger("shop").makeRecord(
        "shop", logging.INFO, __file__, 1, message, (), None, extra=extra
    )


def line(**extra: Any) -> dict[str, Any]:
    """Return the JSON line of a record, parsed as strictly as JSON is."""
    text = Json().format(record(**extra))
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return parsed


def test_a_line_has_the_fields() -> None:
    """A line says when, how grave, who and what."""
    parsed = line()

    assert datetime.fromisoformat(parsed.pop("timestamp")).utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert parsed == {"level": "INFO", "logger": "shop", "message": "hello"}


def test_a_line_in_a_request_has_its_id() -> None:
    """Whatever is logged in a request bears its id."""
    token = request_id.set("abc")
    try:
        assert line()["request_id"] == "abc"
    finally:
        request_id.reset(token)


def test_extras_follow() -> None:
    """What the call gives as extra stands beside the fields."""
    assert line(order=7, paid=True)["order"] == 7


def test_extras_forge_nothing() -> None:
    """An extra named like one of our fields does not take its place."""
    parsed = line(level="X", timestamp=1, request_id="forged", exception="none")

    assert parsed["level"] == "INFO"
    assert parsed["timestamp"] != 1
    assert "request_id" not in parsed
    assert parsed["level_"] == "X"


class Unprintable:
    """An object that can't even be shown."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.parametrize("value", [object(), Unprintable(), float("nan"), {("a", 1): 2}, {1, 2}])
def test_odd_extras_lose_no_line(value: object) -> None:
    """Whatever the extra is, the line comes out, and it is JSON."""
    assert line(odd=value)["message"] == "hello"


def test_a_cycle_loses_no_line() -> None:
    """An extra that holds itself does not end the line either."""
    cycle: list[Any] = []
    cycle.append(cycle)

    assert line(cycle=cycle)["cycle"] == "[[...]]"


def test_exceptions_are_one_string() -> None:
    """A traceback is one field of one line."""
    try:
        int("gone")
    except ValueError as error:
        failed = record()
        failed.exc_info = (ValueError, error, error.__traceback__)

    parsed = json.loads(Json().format(failed))

    assert parsed["exception"].startswith("Traceback")
    assert parsed["exception"].endswith("'gone'")


def test_the_servers_colours_are_left_out() -> None:
    """The ANSI copy that uvicorn makes of its messages is dropped."""
    assert "color_message" not in line(color_message="\x1b[36mStarted\x1b[0m")


def test_a_readable_line() -> None:
    """For a terminal: time, message, then the extras as name=value."""
    text = Readable().format(record(order=7))

    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO     shop: hello order=7", text)


@pytest.mark.parametrize(
    "sign", ["\n", "\r", "\x1b", "\x9b", "\u2028", "\u202e", "\u2067", "\u200f"]
)
def test_a_readable_line_shows_what_it_says(sign: str) -> None:
    """A message breaks no line, commands no terminal, and turns no text around."""
    assert sign not in Readable().format(record(f"a{sign}b", path=f"/c{sign}d"))


def test_configured_twice_writes_once(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """A second set-up takes the first one's place; uvicorn's loggers follow it."""
    for _ in range(2):
        configure_logging(settings)

    logging.getLogger("uvicorn.error").info("started")

    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one, QueueHandler)]
    handler.flush()
    assert len(capfd.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_the_servers_lines_are_like_ours(
    settings: Settings, capfd: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """LOG_JSON decides for uvicorn too, whose own handlers and access lines are gone."""
    loggers = [logging.getLogger(f"uvicorn{name}") for name in ("", ".error", ".asgi", ".access")]
    for one in loggers:
        one.addHandler(logging.StreamHandler(sys.stdout))
    configure_logging(dataclasses.replace(settings, log_json=as_json))

    for one in loggers:
        one.warning("from %s", one.name)

    logging.getLogger().handlers[-1].flush()
    lines = capfd.readouterr().out.splitlines()
    assert [line.startswith('{"timestamp"') for line in lines] == [as_json] * 3
    assert "uvicorn.access" not in "".join(lines)
