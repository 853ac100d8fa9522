"""Decide from plain values what a sync does: customers, steps, findings, retries.

Pure functions and values. Nothing here reads a clock, or talks to Redis, Autumn or Stripe.
"""
