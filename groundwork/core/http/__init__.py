"""HTTP: requests, responses, errors, middleware; handlers `from groundwork.core import http`."""

from groundwork.core.http.operations import operation
from groundwork.core.http.paging import Page, Paging, page
from groundwork.core.http.problems import conflict, found
from groundwork.core.http.responses import Json
from groundwork.core.http.validation import read_json, read_path, read_query

__all__ = [
    "Json",
    "Page",
    "Paging",
    "conflict",
    "found",
    "operation",
    "page",
    "read_json",
    "read_path",
    "read_query",
]
