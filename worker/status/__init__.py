"""The state of everything and of one customer: read from Redis, put into words, shown on a terminal or as JSON.

Changes nothing. Pages belong in `worker.web`.
"""
