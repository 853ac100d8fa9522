"""Attacks on a running worker with real processes. Each is small, bounded in time, and on loopback only."""
