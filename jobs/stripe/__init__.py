"""The client of Stripe: requests by its SDK, the models of the answers, and the errors they become.

The only room that imports stripe. What to write, and when, belongs in `jobs.sync`.
"""
