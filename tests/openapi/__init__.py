"""Tests of groundwork.openapi."""
