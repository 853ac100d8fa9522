"""Metrics and traces of a process.

The only room that imports prometheus_client and opentelemetry. Jobs tell an observer and know neither.
"""
