"""Tests of groundwork/core/http."""
