"""What a sync would do and why, decided from plain values: customers, steps, findings, retries.

Purely computational. Nothing here reads a clock, draws a random number, or talks to Redis, Autumn or Stripe.
"""
