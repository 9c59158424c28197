"""What a handler takes and returns."""

from typing import Any

import pytest

from groundwork.core.http.operations import operation
from groundwork.core.http.paging import Paging
from groundwork.core.structs import IdPath


@pytest.mark.parametrize(
    ("given", "statuses"),
    [
        ({}, set()),
        ({"path": IdPath}, {404}),
        ({"query": Paging}, {400}),
        ({"body": Paging}, {400, 413, 415, 422}),
        ({"body": "image/png"}, {413}),
        ({"guarded": True}, {401, 404}),
        ({"security": ("session",)}, {401}),
        ({"database": True}, {503}),
        ({"errors": (409,)}, {409}),
    ],
)
def test_errors_follow_from_what_a_handler_takes(given: dict[str, Any], statuses: set[int]) -> None:
    """A handler declares only the errors that do not follow from the rest."""
    one = operation({204: None}, **{"database": False} | given)

    assert one.problems == {405, 500} | statuses
