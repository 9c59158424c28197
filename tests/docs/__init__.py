"""Tests of groundwork.docs."""
