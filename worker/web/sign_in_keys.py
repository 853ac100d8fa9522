"""The names of the page's sign-in keys in Redis. worker.web.credentials owns their values."""


def signing_key(prefix: str) -> str:
    """Return the name of the random key that signs cookies and forms. It is permanent."""
    return f"{prefix}:sign-in:key"


def tries_key(prefix: str) -> str:
    """Return the name of the sorted set of wrong passwords, by time in milliseconds. It expires after a minute."""
    return f"{prefix}:sign-in:wrong"
