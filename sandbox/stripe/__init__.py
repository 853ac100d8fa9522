"""A simulator of Stripe's API over HTTP, webhooks included.

It behaves as Stripe's documents and SDK say, and imports nothing of the worker.
"""
