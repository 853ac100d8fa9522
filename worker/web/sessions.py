"""Sessions in signed cookies, and tokens that prove that a form is ours. Pure but for the clock and randomness.

A session is kept in its cookie alone, so any worker with the same key knows it.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Final

from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.signer import Signer

SESSION_SECONDS: Final = 12 * 3600
OPERATOR, READER, GUEST = "operator", "reader", "guest"
"""Gave the password; opened the address with the token, if there is no password; neither."""


class _Signer(Signer):
    """HMAC with SHA-256, of a key of its own for each salt."""

    default_key_derivation = "hmac"
    default_digest_method = staticmethod(hashlib.sha256)


@dataclass(frozen=True)
class Session:
    """One browser. `role` is OPERATOR, READER or GUEST; `ends_at` is in seconds since the epoch."""

    role: str
    ends_at: int
    id: str

    @property
    def is_operator(self) -> bool:
        """Whether the password was given."""
        return self.role == OPERATOR

    @property
    def is_reader(self) -> bool:
        """Whether it may read: the password was given, or the token."""
        return self.role in {OPERATOR, READER}


class Sessions:
    """Makes and reads cookies and tokens with one key."""

    def __init__(self, key: bytes) -> None:
        """`key` has to be impossible to guess."""
        self._cookies = URLSafeSerializer(key, salt="session", signer=_Signer)
        self._forms = _Signer(key, salt="form")

    def begin(self, role: str) -> Session:
        """Begin a session that has nothing of one before it."""
        return Session(role, int(time.time()) + SESSION_SECONDS, secrets.token_urlsafe(16))

    def cookie(self, session: Session) -> str:
        """Return what the browser keeps: the same for a session each time."""
        return str(self._cookies.dumps([session.role, session.ends_at, session.id]))

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None if it is not ours, or over."""
        try:
            session = Session(*self._cookies.loads(cookie))
        except (BadData, UnicodeError):
            return None
        return session if session.ends_at > time.time() else None

    def token(self, session: Session) -> str:
        """Return what every form of this session carries."""
        return self._forms.get_signature(f"{session.role}.{session.id}").decode()

    def is_token(self, session: Session, given: str) -> bool:
        """Whether a form is of this session."""
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.token(session).encode())
