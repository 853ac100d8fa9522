"""Chaos runs: real workers, a real Redis and both services, killed and broken on a repeatable schedule."""
