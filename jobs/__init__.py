"""The product: events, the decisions about them, a client for each service, and the jobs."""
