"""Simulators of Autumn and Stripe as HTTP servers, a real Redis, and the demo. It imports nothing of the worker."""
