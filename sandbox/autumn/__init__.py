"""A simulator of Autumn's customers API over HTTP.

It behaves like the recordings of the real service and imports nothing of the worker.
"""
