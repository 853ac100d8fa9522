"""The state in Redis: inbox, mailboxes, leases, outcomes, dead letters, the circuit breaker, and the Lua scripts.

Nothing here depends on Autumn, Stripe or arq.
"""
