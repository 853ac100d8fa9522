"""Attacks on a running worker, played with real processes. Each one is small, bounded in time, and on loopback only."""
