"""Tests of groundwork.core.readiness."""
