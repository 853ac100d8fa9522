"""`python -m sandbox.demo`: workers bring a realistic set of customers in sync, and the demo checks the result.

It knows only the Procfile, the log and the Redis keys of the worker.
"""
