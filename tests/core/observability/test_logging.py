"""Log lines."""

import dataclasses
import json
import logging
import re
import sys
import warnings
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import UNSET, Raw, UnsetType

from groundwork.core.config import Settings
from groundwork.core.observability.log_queue import QueueHandler
from groundwork.core.observability.logging import (
    AccessLine,
    AccessRecord,
    JsonFormatter,
    TextFormatter,
    configure_logging,
    request_id,
    traceparent,
)


def record(message: str = "hello", **extra: Any) -> logging.LogRecord:
    """Return the record of a log call with these extra fields."""
    return logging.getLogger("shop").makeRecord(
        "shop", logging.INFO, __file__, 1, message, (), None, extra=extra
    )


def line(**extra: Any) -> dict[str, Any]:
    """Return the JSON line of a record, parsed strictly."""
    text = JsonFormatter().format(record(**extra))
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return parsed


def test_a_line_has_the_fields() -> None:
    """A line has timestamp, level, logger and message."""
    parsed = line()

    assert datetime.fromisoformat(parsed.pop("timestamp")).utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert parsed == {"level": "INFO", "logger": "shop", "message": "hello"}


def test_a_line_in_a_request_has_its_id() -> None:
    """A line written during a request has its request ID."""
    token = request_id.set("abc")
    try:
        assert line()["request_id"] == "abc"
    finally:
        request_id.reset(token)


def test_a_line_in_a_trace_has_its_id() -> None:
    """A line written during a traced request has the trace ID."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    token = traceparent.set(f"00-{trace}-b7ad6b7169203331-01")
    try:
        assert line()["trace_id"] == trace
    finally:
        traceparent.reset(token)


def test_extra_fields_are_in_the_line() -> None:
    """Extra fields are added beside the standard ones."""
    assert line(order=7, paid=True)["order"] == 7


def test_extra_fields_do_not_replace_standard_fields() -> None:
    """An extra field with a reserved name gets an underscore appended."""
    reserved = ("timestamp", "level", "logger", "request_id", "trace_id", "exception")
    parsed = line(**dict.fromkeys(reserved, 1))

    assert (parsed.pop("level"), parsed.pop("logger")) == ("INFO", "shop")
    assert parsed.pop("timestamp") != 1
    assert parsed == {"message": "hello"} | {f"{name}_": 1 for name in reserved}


def test_a_dict_does_not_replace_standard_fields() -> None:
    """A dict that is logged, such as a client's, becomes fields, and only the message is its."""
    given: Any = {"level": "X", "timestamp": 1, "request_id": "forged", "message": "a", "b": 1}
    parsed = json.loads(JsonFormatter().format(record(given)))

    assert (parsed["level"], parsed["message"], parsed["b"]) == ("INFO", "a", 1)
    assert "request_id" not in parsed
    assert parsed["timestamp"] != 1


def test_a_json_column_with_line_breaks_is_one_line() -> None:
    """PostgreSQL keeps the white space of a json column, which a client may have sent."""
    raw = Raw(b'{"a":\r\n{"level":"FORGED"}}')

    assert line(raw=raw)["raw"] == {"a": {"level": "FORGED"}}
    assert line(raw={"é": raw})["raw"] == {"é": {"a": {"level": "FORGED"}}}


class Unprintable:
    """An object whose repr() fails."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.parametrize("value", [object(), Unprintable(), float("nan"), {("a", 1): 2}, {1, 2}])
def test_any_extra_value_is_written_as_json(value: object) -> None:
    """A value that JSON cannot hold is converted, and the line is written."""
    assert line(odd=value)["message"] == "hello"


@pytest.mark.parametrize("sign", ["\n", "\x9b", "\u2028", "\u202e", "\ud800", "é"])
def test_text_is_written_as_it_is(sign: str) -> None:
    """Text of any kind comes back; what would break a line or command a terminal is escaped."""
    written = JsonFormatter().format(record(text=f"a{sign}"))

    assert (sign in written) is (sign == "é")
    assert json.loads(written)["text"] == f"a{sign}"


def test_a_cyclic_value_is_written() -> None:
    """A value that contains itself is converted, and the line is written."""
    cycle: list[Any] = []
    cycle.append(cycle)

    written = line(cycle=cycle, number=7, none=None)

    assert (written["cycle"], written["number"], written["none"]) == ("[[...]]", 7, None)
    assert re.fullmatch(r"....-..-..T..:..:..\.\d+Z", written["timestamp"])


def test_exceptions_are_one_string() -> None:
    """A traceback is a single field of a single line."""
    try:
        int("gone")
    except ValueError as error:
        failed = record()
        failed.exc_info = (ValueError, error, error.__traceback__)

    parsed = json.loads(JsonFormatter().format(failed))

    assert parsed["exception"].startswith("Traceback")
    assert parsed["exception"].endswith("'gone'")


def test_ansi_colors_are_left_out() -> None:
    """The colored copy of uvicorn's messages is dropped."""
    assert "color_message" not in line(color_message="\x1b[36mStarted\x1b[0m")


def test_a_readable_line() -> None:
    """A readable line has time, level, logger and message, then name=value pairs."""
    text = TextFormatter().format(record(order=7))

    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO     shop: hello order=7", text)


@pytest.mark.parametrize(
    "sign", ["\n", "\r", "\x1b", "\x9b", "\u2028", "\u202e", "\u2067", "\u200f", "\u061c"]
)
def test_a_readable_line_has_no_control_characters(sign: str) -> None:
    """Line breaks, escape sequences and direction marks are escaped."""
    assert sign not in TextFormatter().format(record(f"a{sign}b", path=f"/c{sign}d"))


def test_a_readable_traceback_has_no_control_characters() -> None:
    """It keeps its lines, and the text of an exception, maybe a client's, commands no terminal."""
    failed = record()
    failed.exc_info = (ValueError, ValueError("\x1b[31m\nred"), None)

    assert TextFormatter().format(failed).endswith("\n  ValueError: \\x1b[31m\n  red")


def test_a_readable_line_in_a_request_has_its_id() -> None:
    """A readable line of a request has its request ID too."""
    token = request_id.set("abc")
    try:
        assert TextFormatter().format(record()).endswith("hello request_id='abc'")
    finally:
        request_id.reset(token)


def access_record(path: str, trace_id: str | UnsetType = UNSET) -> AccessRecord:
    """Return the access log's record of a request."""
    line = AccessLine(
        datetime(2026, 11, 26, tzinfo=UTC),
        "INFO",
        "groundwork.access",
        f"GET {path} 200",
        "abc",
        trace_id,
        "GET",
        path,
        200,
        1.5,
        None,
    )
    return AccessRecord(logging.INFO, line)


def test_a_line_of_the_access_log() -> None:
    """Such a line has the fields of any other, then those of the request."""
    written = JsonFormatter().format(access_record("/notes", "def"))

    assert written == (
        '{"timestamp":"2026-11-26T00:00:00Z","level":"INFO","logger":"groundwork.access",'
        '"message":"GET /notes 200","request_id":"abc","trace_id":"def","method":"GET",'
        '"path":"/notes","status":200,"duration_ms":1.5,"client":null}'
    )


@pytest.mark.parametrize("sign", ["\n", "\x9b", "\u2028", "\ud800", "é"])
def test_the_access_log_writes_any_path(sign: str) -> None:
    """What would break a line or command a terminal is escaped, and no field is lost."""
    written = JsonFormatter().format(access_record(f"/a{sign}"))

    parsed = json.loads(written)
    assert (sign in written) is (sign == "é")
    assert (parsed["path"], parsed["status"]) == (f"/a{sign}", 200)
    assert "trace_id" not in parsed


def test_a_readable_line_of_the_access_log() -> None:
    """It has the message and then the fields, and no control character."""
    written = TextFormatter().format(access_record("/a\n"))

    time, _, rest = written.partition(" ")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", time)
    assert rest == (
        r"INFO     groundwork.access: GET /a\n 200 request_id='abc' method='GET' path='/a\n' "
        "status=200 duration_ms=1.5 client=None"
    )


@pytest.mark.parametrize("field", ["asctime", "module", "process", "filename", "lineno", "msecs"])
def test_any_formatter_takes_the_access_log(field: str) -> None:
    """The record has all that a formatter may read."""
    text = logging.Formatter(f"%({field})s %(levelname)s %(name)s %(message)s")

    assert text.format(access_record("/%s")).endswith(" INFO groundwork.access GET /%s 200")


def test_any_formatter_shows_the_time_of_the_access_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The milliseconds are those of the request, whole as in other records."""
    for now, milliseconds in ((1.2509, 250), (2.5, 500)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        assert access_record("/").msecs == milliseconds


def test_logging_configured_twice_writes_once(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """A second configuration replaces the first, for uvicorn's loggers too."""
    for _ in range(2):
        configure_logging(dataclasses.replace(settings, log_level="info"))

    logging.getLogger("uvicorn.error").info("started")

    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one, QueueHandler)]
    handler.flush()
    assert len(capfd.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_the_stack_is_written_on_request(
    settings: Settings, capfd: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """A call with stack_info has the place that it comes from in its line."""
    configure_logging(dataclasses.replace(settings, log_json=as_json))

    logging.getLogger("shop").warning("odd", stack_info=True)

    logging.getLogger().handlers[-1].flush()
    assert "in test_the_stack_is_written_on_request" in capfd.readouterr().out


def test_a_warning_of_python_is_a_line(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """What Python warns of, such as a coroutine that was never awaited, is in the log."""
    logging.captureWarnings(capture=False)  # no earlier test has set it
    configure_logging(settings)

    with warnings.catch_warnings(action="always"):
        warnings.warn("odd\nindeed", RuntimeWarning, stacklevel=1)

    logging.getLogger().handlers[-1].flush()
    output = capfd.readouterr()
    assert (json.loads(output.out)["logger"], output.err) == ("py.warnings", "")


@pytest.mark.parametrize("as_json", [True, False])
def test_uvicorn_logs_in_the_same_format(
    settings: Settings, capfd: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """LOG_JSON applies to uvicorn, whose handlers are removed and access log disabled."""
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
