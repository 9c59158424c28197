"""Tests of groundwork/health/page."""
