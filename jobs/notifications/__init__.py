"""Notifications for a person: what they say, and the Redis state of what was sent.

No HTTP and no settings: `worker.notifier` sends them.
"""
