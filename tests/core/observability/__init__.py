"""Tests of groundwork/core/observability."""
