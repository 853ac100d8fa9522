"""Stand-ins for the outside world: Autumn and Stripe as HTTP servers, and a real Redis. Imports nothing of ours."""
