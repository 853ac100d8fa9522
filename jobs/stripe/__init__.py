"""The client of Stripe: requests by its SDK, the models of the answers, and the errors they become.

Only this package imports stripe. `jobs.sync` decides which values to write, and when.
"""
