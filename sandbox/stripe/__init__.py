"""A simulator of Stripe's API over HTTP, webhooks included.

It behaves like Stripe's documentation and SDK and imports nothing of the worker.
"""
