"""The simulated Stripe over HTTP, as any client would see it."""
