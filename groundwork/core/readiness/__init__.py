"""Readiness: can this instance serve the next request?"""
