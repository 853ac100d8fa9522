"""Metrics and traces of a process.

Only this room imports prometheus_client and opentelemetry. Jobs report to an observer and know neither.
"""
