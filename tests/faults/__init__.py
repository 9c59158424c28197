"""Fault injection on real servers: readiness and shutdown under each failure."""
