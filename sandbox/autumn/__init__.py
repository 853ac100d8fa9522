"""A simulator of Autumn's customers API over HTTP.

It behaves as recordings of the real service show, and imports nothing of the worker.
"""
