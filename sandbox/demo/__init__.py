"""`python -m sandbox.demo`: the worker brings a lifelike set of customers in sync, and the demo checks the result.

It knows the worker only by its Procfile, its log and Redis.
"""
