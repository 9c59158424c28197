"""Groundwork: open-source, self-hosted project management."""

__version__ = "0.1.0"
