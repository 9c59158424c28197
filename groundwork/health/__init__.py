"""Liveness, readiness, details and metrics: the pattern for other features."""
