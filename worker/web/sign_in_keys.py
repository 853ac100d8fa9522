"""The keys in Redis of what opens the page. What they hold is up to worker.web.credentials."""


def signing_key(prefix: str) -> str:
    """The random key that signs cookies and forms. Permanent."""
    return f"{prefix}:sign-in:key"


def tries_key(prefix: str) -> str:
    """A sorted set of wrong passwords by when they were tried, in milliseconds. Lives a minute."""
    return f"{prefix}:sign-in:wrong"
