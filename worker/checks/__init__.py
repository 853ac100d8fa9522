"""The checks of `customer-sync doctor`: settings, Redis, both services, the owner of the keys.

Reads only.
"""
