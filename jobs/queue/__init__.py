"""The truth in Redis: inbox, mailboxes, leases, outcomes, dead letters, the circuit breaker, and the Lua scripts.

Nothing here knows Autumn, Stripe or arq.
"""
