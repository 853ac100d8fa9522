"""The state of the deployment and of one customer, read from Redis, as text for a terminal or as JSON.

Nothing here writes, except the history. Pages belong in `worker.web`.
"""
