"""Rows for tests: a function a table, the connection first, overrides by keyword."""
