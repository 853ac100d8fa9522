"""Who may see and act: sessions in signed cookies, tokens that prove a form is ours, passwords at a slow pace.

Nothing is kept of a session but what its cookie says, so that any worker knows it, and a new password ends them all.
The signing key is made from the password by a slow function: whoever steals a cookie learns nothing quickly.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

SESSION_SECONDS: Final = 12 * 3600
TRIES_A_MINUTE: Final = 5
"""Wrong passwords over all workers; who is signed in is not held up by somebody who guesses."""
MINUTE_SECONDS: Final = 60
OPERATOR, GUEST = "operator", "guest"
SALT: Final = b"autumn-stripe-sync operator's sessions"


@dataclass(frozen=True)
class Session:
    """One browser. `role` is OPERATOR after the password was given, GUEST before; `ends_at` is since the epoch."""

    role: str
    ends_at: int
    id: str

    @property
    def is_operator(self) -> bool:
        """Whether the password was given."""
        return self.role == OPERATOR


class Sessions:
    """Makes and reads cookies and tokens. Without a password nobody becomes an operator."""

    def __init__(self, password: str | None) -> None:
        """Takes some 50 ms: the key is made from the password."""
        self._password = password
        self._key = secrets.token_bytes(32) if password is None else _derived(password)

    @property
    def has_password(self) -> bool:
        """Whether there is one to be given."""
        return self._password is not None

    def begin(self, role: str) -> Session:
        """A new session: nothing of one before it goes on."""
        return Session(role, int(time.time()) + SESSION_SECONDS, secrets.token_urlsafe(16))

    def cookie(self, session: Session) -> str:
        """What the browser keeps."""
        said = f"{session.role}.{session.ends_at}.{session.id}"
        return f"{said}.{self._sign('session', said)}"

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie; None where it is not ours, or over."""
        said, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(_bytes(signature), _bytes(self._sign("session", said))):
            return None
        role, ends_at, session_id = said.split(".")
        return Session(role, int(ends_at), session_id) if int(ends_at) > time.time() else None

    def token(self, session: Session) -> str:
        """What every form of this session carries."""
        return self._sign("form", f"{session.role}.{session.id}")

    def is_token(self, session: Session, given: str) -> bool:
        """Whether a form is of this session."""
        return hmac.compare_digest(_bytes(given), _bytes(self.token(session)))

    def is_password(self, given: str) -> bool:
        """Whether this is the password; it takes as long for a wrong one."""
        right = self._password
        same = hmac.compare_digest(_digest(given), _digest(right or ""))
        return same and right is not None

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, _bytes(f"{purpose}:{text}"), hashlib.sha256).hexdigest()


class Tries:
    """How often a password may be tried, counted in Redis over all workers."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        """Opens nothing."""
        self._redis = redis
        self._key = f"{prefix}:sign-in:tries"

    async def may_try(self) -> bool:
        """Count a try, and say whether it may be made. Raises RedisError."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._key, 0, ex=MINUTE_SECONDS, nx=True)
            pipe.incr(self._key)
            _, tries = await pipe.execute()
        return int(tries) <= TRIES_A_MINUTE

    async def forget(self) -> None:
        """The password was right: begin to count anew. Raises RedisError."""
        await self._redis.delete(self._key)


def _derived(password: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=SALT, n=2**14, r=8, p=1, dklen=32)


def _digest(text: str) -> bytes:
    return hashlib.sha256(_bytes(text)).digest()


def _bytes(text: str) -> bytes:
    # What a browser sends may be anything, half a surrogate pair as well.
    return text.encode("utf-8", "surrogatepass")
