"""The signing key in Redis, the password and the token that open the page, and the limit on wrong passwords.

What needs no Redis is in worker.web.sessions. Who is let in is decided in worker.web.access.
"""

import asyncio
import hashlib
import hmac
import secrets
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobs.queue.key_types import answer_or_none, is_wrong_type
from jobs.queue.replacing import delete_if_wrong
from worker.status.shared_state import READ_SECONDS
from worker.web.sessions import Sessions
from worker.web.sign_in_keys import signing_key, tries_key

TRIES_A_MINUTE: Final = 5
"""Wrong passwords over all workers. They do not hold up anyone who is signed in."""
MINUTE_SECONDS: Final = 60
SCRYPT_MEMORY: Final = 64 * 1024 * 1024


class Credentials:
    """The credentials that a browser may show, for all workers that share a Redis."""

    def __init__(self, redis: Redis, prefix: str, *, password: str | None, token: str) -> None:
        """Opens nothing. `token` opens the page of this process if there is no `password`."""
        self._redis = redis
        self._prefix = prefix
        self._key_name = signing_key(prefix)
        self._password = password
        self._token = token
        self._sessions: tuple[bytes, Sessions] | None = None
        self._deriving = asyncio.Lock()

    @property
    def has_password(self) -> bool:
        """Whether there is a password to be given."""
        return self._password is not None

    def is_password(self, given: str) -> bool:
        """Whether this is the password. A wrong one takes as long."""
        return _is_same(given, self._password)

    def is_token(self, given: str) -> bool:
        """Whether this is the token, and opens the page. A wrong one takes as long."""
        return _is_same(given, self._token) and not self.has_password

    async def sessions(self) -> Sessions:
        """Return the sessions that are valid now. Raises RedisError, and TimeoutError after READ_SECONDS.

        The key is read each time, so deleting it ends all sessions. All workers agree on a new one then.
        """
        async with asyncio.timeout(READ_SECONDS):
            kept = await self._signing_key()
        async with self._deriving:
            if self._sessions is None or self._sessions[0] != kept:
                self._sessions = kept, Sessions(await asyncio.to_thread(derived, kept, self._password))
            return self._sessions[1]

    async def _signing_key(self) -> bytes:
        kept: bytes | None = await answer_or_none(self._redis.get(self._key_name))
        if kept:
            return kept
        await delete_if_wrong(self._redis, self._prefix, self._key_name, "string")
        # Another worker may be first: what Redis has then is the key. An empty value is none that anybody can share.
        await self._redis.set(self._key_name, secrets.token_hex(32), nx=kept is None)
        made: bytes | None = await self._redis.get(self._key_name)
        return made or secrets.token_bytes(32)


class Tries:
    """The wrong passwords of the last minute, counted in Redis over all workers."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        """Opens nothing."""
        self._redis = redis
        self._prefix = prefix
        self._key = tries_key(prefix)

    async def begin(self) -> str | None:
        """Count a try as wrong, and return its name; None if it may not be made. Raises RedisError.

        Each try is counted before its password is looked at, so that those at the same moment count each other.
        """
        try:
            return await self._count(secrets.token_hex(8))
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
        await delete_if_wrong(self._redis, self._prefix, self._key, "zset")
        return await self._count(secrets.token_hex(8))

    async def _count(self, name: str) -> str | None:
        seconds, microseconds = await self._redis.time()
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(self._key, "-inf", now_ms - MINUTE_SECONDS * 1000)
            pipe.zadd(self._key, {name: now_ms})
            pipe.zcard(self._key)
            pipe.expire(self._key, MINUTE_SECONDS)
            _, _, tries, _ = await pipe.execute()
        if int(tries) <= TRIES_A_MINUTE:
            return name
        await self.forget(name)
        return None

    async def forget(self, name: str) -> None:
        """Do not count this try: its password was right. Those of others stay counted. Raises RedisError."""
        await self._redis.zrem(self._key, name)


def derived(kept: bytes, password: str | None) -> bytes:
    """Return the key to sign with: another one for another password.

    A stranger's cookie tells nothing about the password, because the key in Redis is random. A reader of that
    key still has to guess the password, 0.1 s for each try.
    """
    if password is None:
        return hashlib.sha256(b"no password:" + kept).digest()
    return hashlib.scrypt(password.encode(), salt=kept, n=2**15, r=8, p=1, maxmem=SCRYPT_MEMORY, dklen=32)


def _is_same(given: str, right: str | None) -> bool:
    same = hmac.compare_digest(_digest(given), _digest(right or ""))
    return same and bool(right)


def _digest(text: str) -> bytes:
    # What a browser sends may be anything, half a surrogate pair as well.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
