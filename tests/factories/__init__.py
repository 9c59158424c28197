"""Rows for tests: a function a table, the connection first, overrides by keyword."""

from tests.factories.installation import create_installation

__all__ = ["create_installation"]
