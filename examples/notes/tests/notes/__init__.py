"""Tests of groundwork.notes."""
