"""The HTTP port of a process: health, metrics, the operator's page and its sign-in.

What a page says is read and worded in `worker.status`.
"""
