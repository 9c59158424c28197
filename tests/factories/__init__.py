"""Rows for tests: one function per table, with the connection first and overrides by keyword."""
