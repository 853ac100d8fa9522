"""The watch: Stripe's events become reconciles.

It reads events and requests reconciles through the inbox. It never writes to Autumn or Stripe; only a sync does.
"""
