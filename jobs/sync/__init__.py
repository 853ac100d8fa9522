"""The main job: take a batch, fetch both sides, plan, apply, settle. The only package that writes to Autumn and Stripe.

Decisions that need no I/O belong in `jobs.plan`.
"""
