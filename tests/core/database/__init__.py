"""Tests of groundwork/core/database."""
