"""Tests of groundwork.core."""
