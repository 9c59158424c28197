"""Benchmarks: the service against its limit, a bare ASGI callable, and against its peers."""
