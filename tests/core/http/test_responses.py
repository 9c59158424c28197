"""JSON of what PostgreSQL gives."""

import json

import pytest

from groundwork.core.database.connections import Connection
from groundwork.core.http.responses import Json


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'2025-01-02 03:04:05.678+01'::timestamptz", "2025-01-02T02:04:05.678000+00:00"),
        ("'2025-01-02'::date", "2025-01-02"),
        ("'00000000-0000-0000-0000-00000000000a'::uuid", "00000000-0000-0000-0000-00000000000a"),
        ("0.10::numeric", "0.10"),
        ("'é'::text", "é"),
        ("array[1, 2]", [1, 2]),
        ("true", True),
        ("NULL", None),
    ],
)
async def test_a_value_of_a_row(connection: Connection, expression: str, expected: object) -> None:
    """Each goes into JSON as its kind wants."""
    row = await connection.fetchrow(f"SELECT {expression} AS value")
    assert row is not None

    assert json.loads(bytes(Json(dict(row)).body)) == {"value": expected}


def test_it_takes_as_few_bytes_as_it_can() -> None:
    """No space where none is needed, and no escape where UTF-8 will do."""
    assert Json({"name": "é", "list": [1, 2]}).body == '{"name":"é","list":[1,2]}'.encode()


@pytest.mark.parametrize("value", [object(), b"hunter2", float("nan")])
def test_what_has_no_form_is_an_error(value: object) -> None:
    """What nobody meant to show is not written, and neither is what is not JSON."""
    with pytest.raises(
        (TypeError, ValueError), match=r"^(object|bytes) has no|not JSON compl"
    ) as raised:
        Json({"value": value})

    assert "hunter2" not in str(raised.value)
