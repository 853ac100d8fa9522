"""The signing key in Redis, the password and the token of the page, and the limit on wrong passwords.

worker.web.sessions has the parts that need no Redis. worker.web.access decides about access.
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
"""The limit on wrong passwords, over all workers. Signed-in operators are not affected."""
MINUTE_SECONDS: Final = 60
SCRYPT_MEMORY: Final = 64 * 1024 * 1024


class Credentials:
    """The credentials of browsers, shared by all workers on the same Redis."""

    def __init__(
        self, redis: Redis, prefix: str, *, password: str | None, token: str, read_seconds: float = READ_SECONDS
    ) -> None:
        """Keep the values; nothing is opened. `token` opens the page of this process if there is no `password`."""
        self._read_seconds = read_seconds
        self._redis = redis
        self._prefix = prefix
        self._key_name = signing_key(prefix)
        self._password = password
        self._token = token
        self._sessions: tuple[bytes, Sessions] | None = None
        self._deriving = asyncio.Lock()

    @property
    def has_password(self) -> bool:
        """Whether a password is set."""
        return self._password is not None

    def is_password(self, given: str) -> bool:
        """Return whether this is the password. A wrong one takes the same time."""
        return _is_same(given, self._password)

    def is_token(self, given: str) -> bool:
        """Return whether this is the token, and no password is set. A wrong one takes the same time."""
        return _is_same(given, self._token) and not self.has_password

    async def sessions(self) -> Sessions:
        """Return the sessions of the current key. Raises RedisError, and TimeoutError after `read_seconds`.

        The key is read each time, so deleting it ends all sessions. All workers then share a new key.
        """
        async with asyncio.timeout(self._read_seconds):
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
        # Another worker may write its key first, so read it back. An empty value is not a key and is overwritten.
        await self._redis.set(self._key_name, secrets.token_hex(32), nx=kept is None)
        made: bytes | None = await self._redis.get(self._key_name)
        return made or secrets.token_bytes(32)


class Tries:
    """The wrong passwords of the last minute, counted in Redis over all workers."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        """Keep the values; nothing is opened."""
        self._redis = redis
        self._prefix = prefix
        self._key = tries_key(prefix)

    async def begin(self) -> str | None:
        """Count an attempt as wrong and return its name. None if the limit is reached. Raises RedisError.

        Attempts are counted before the password check, so simultaneous ones cannot exceed the limit.
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
        """Stop counting this attempt, because its password was right. Raises RedisError."""
        await self._redis.zrem(self._key, name)


def derived(kept: bytes, password: str | None) -> bytes:
    """Return the signing key, which depends on the password, so a new password ends all sessions.

    A cookie reveals nothing about the password, because the key in Redis is random. A person who can read that key must
    still guess the password, at 0.1 s for each guess.
    """
    if password is None:
        return hashlib.sha256(b"no password:" + kept).digest()
    return hashlib.scrypt(password.encode(), salt=kept, n=2**15, r=8, p=1, maxmem=SCRYPT_MEMORY, dklen=32)


def _is_same(given: str, right: str | None) -> bool:
    same = hmac.compare_digest(digest_of(given), digest_of(right or ""))
    return same and bool(right)


def digest_of(text: str) -> bytes:
    """Return the digest of a secret. Two digests have the same length, so a comparison does not show it."""
    # A browser may send any text, even half a surrogate pair.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
