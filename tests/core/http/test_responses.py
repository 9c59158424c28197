"""JSON responses."""

import json
from ipaddress import IPv4Address

import pytest

from groundwork.core.database import Connection
from groundwork.core.http.responses import Json


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'2025-01-02 03:04:05.678+01'::timestamptz", "2025-01-02T02:04:05.678000Z"),
        ("'2025-01-02 03:04:05.678'::timestamp", "2025-01-02T03:04:05.678000"),
        ("'2025-01-02'::date", "2025-01-02"),
        ("'03:04:05.678'::time", "03:04:05.678000"),
        ("'03:04:05+01'::timetz", "03:04:05+01:00"),
        ("'1 day 2 seconds'::interval", "P1DT2S"),
        ("'\\x6162'::bytea", "YWI="),
        ("'00000000-0000-0000-0000-00000000000a'::uuid", "00000000-0000-0000-0000-00000000000a"),
        ("0.10::numeric", "0.10"),
        ("'é'::text", "é"),
        ("9223372036854775807::bigint", 2**63 - 1),
        ("0.5::float8", 0.5),
        ("'NaN'::float8", None),
        ("array[1, 2]", [1, 2]),
        ("array['2025-01-02'::date]", ["2025-01-02"]),
        ("true", True),
        ("NULL", None),
    ],
)
async def test_a_value_of_a_row(connection: Connection, expression: str, expected: object) -> None:
    """Each type of PostgreSQL has its form in JSON."""
    row = await connection.fetchrow(f"SELECT {expression} AS value")
    assert row is not None

    assert json.loads(bytes(Json(dict(row)).body)) == {"value": expected}


def test_it_is_compact() -> None:
    """There is no space between tokens, and text is UTF-8, not escaped."""
    assert Json({"name": "é", "list": [1, 2]}).body == '{"name":"é","list":[1,2]}'.encode()


def test_another_type_is_an_error() -> None:
    """A value without a form in JSON raises an error that names its type and not the value."""
    with pytest.raises(TypeError, match=r"objects of type IPv4Address is unsupported") as raised:
        Json({"value": IPv4Address("203.0.113.7")})

    assert "203" not in str(raised.value)
