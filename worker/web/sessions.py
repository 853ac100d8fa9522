"""Sessions in signed cookies, and tokens that prove that a form is ours. Pure except for the clock and randomness.

A session is stored only in its cookie, so every worker with the same key can read it. itsdangerous signs both. The
signed text contains the end of the session: the timed serializer of itsdangerous would write a new cookie on each page
and put off the end. aiohttp-session does not fit, because it takes its key once at the start; here, deleting the key in
Redis ends all sessions.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Final

from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.signer import Signer

SESSION_SECONDS: Final = 12 * 3600
OPERATOR, READER, GUEST = "operator", "reader", "guest"
"""The roles: signed in with the password; opened the address with the token; neither."""


class _Signer(Signer):
    """HMAC with SHA-256, with a separate key for each salt."""

    default_key_derivation = "hmac"
    default_digest_method = staticmethod(hashlib.sha256)


@dataclass(frozen=True)
class Session:
    """The session of a browser. `role` is OPERATOR, READER or GUEST; `ends_at` is in seconds since the epoch."""

    role: str
    ends_at: int
    id: str

    @property
    def is_operator(self) -> bool:
        """Whether the session began with the password."""
        return self.role == OPERATOR

    @property
    def is_reader(self) -> bool:
        """Whether the session began with the password or the token, so that it may read."""
        return self.role in {OPERATOR, READER}


class Sessions:
    """The cookies and form tokens of one signing key."""

    def __init__(self, key: bytes) -> None:
        """`key` must be impossible to guess."""
        self._cookies = URLSafeSerializer(key, salt="session", signer=_Signer)
        self._forms = _Signer(key, salt="form")

    def begin(self, role: str) -> Session:
        """Return a new session with a new id."""
        return Session(role, int(time.time()) + SESSION_SECONDS, secrets.token_urlsafe(16))

    def cookie(self, session: Session) -> str:
        """Return the cookie of a session, which is always the same."""
        return str(self._cookies.dumps([session.role, session.ends_at, session.id]))

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie, or None if it is not ours or has ended."""
        try:
            session = Session(*self._cookies.loads(cookie))
        except (BadData, UnicodeError):
            return None
        return session if session.ends_at > time.time() else None

    def token(self, session: Session) -> str:
        """Return the token of this session's forms."""
        return self._forms.get_signature(_named(session)).decode()

    def is_token(self, session: Session, given: str) -> bool:
        """Return whether this is the token of this session's forms."""
        return self._forms.verify_signature(_named(session), given)


def _named(session: Session) -> str:
    return f"{session.role}.{session.id}"
