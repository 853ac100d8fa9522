"""The scan: list both sides, compare them, report, and request reconciles through the inbox.

Nothing here writes to Autumn or Stripe.
"""
