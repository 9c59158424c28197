"""Tests of groundwork.health: one file for each endpoint."""
