"""The check for missing rights of the Redis user, before the first event and without changing anything.

The commands are queued in a transaction that is never executed, because Redis already refuses a forbidden command when
it is queued. `deploy/redis.acl` is the same list as a rule; a test compares the two.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, ResponseError

from jobs.queue.ownership import reader_key
from jobs.queue.record import RecordKeys

KEY: Final = "{key}"
NO_SCRIPT: Final = "0" * 40
BEFORE: Final[Mapping[str, Sequence[str]]] = {"exec": (), "watch": (KEY,)}
"""Redis does not queue these. Alone they do no harm: EXEC is an error, and WATCH ends with the connection."""
QUEUED: Final[Mapping[str, Sequence[str]]] = {
    "del": (KEY,),
    "evalsha": (NO_SCRIPT, "1", KEY),
    "exists": (KEY,),
    "expire": (KEY, "1"),
    "get": (KEY,),
    "hdel": (KEY, "f"),
    "hget": (KEY, "f"),
    "hgetall": (KEY,),
    "hincrby": (KEY, "f", "1"),
    "hlen": (KEY,),
    "hmget": (KEY, "f"),
    "hscan": (KEY, "0"),
    "hset": (KEY, "f", "v"),
    "hsetnx": (KEY, "f", "v"),
    "incrby": (KEY, "1"),
    "lpush": (KEY, "v"),
    "lrange": (KEY, "0", "0"),
    "ltrim": (KEY, "0", "0"),
    "persist": (KEY,),
    "pexpire": (KEY, "1"),
    "ping": (),
    "psetex": (KEY, "1", "v"),
    "pttl": (KEY,),
    "script|load": ("return 1",),
    "set": (KEY, "v"),
    "time": (),
    "type": (KEY,),
    "unwatch": (),
    "xadd": (KEY, "*", "f", "v"),
    "xdel": (KEY, "1-1"),
    "xinfo|stream": (KEY,),
    "xlen": (KEY,),
    "xrange": (KEY, "-", "+"),
    "xread": ("streams", KEY, "0"),
    "xrevrange": (KEY, "+", "-"),
    "zadd": (KEY, "1", "m"),
    "zcard": (KEY,),
    "zrange": (KEY, "0", "0"),
    "zrangebyscore": (KEY, "0", "0"),
    "zrem": (KEY, "m"),
    "zremrangebyscore": (KEY, "0", "0"),
    "zscore": (KEY, "m"),
}
"""The commands with the right number of arguments, because Redis counts them before it checks the rights."""
ONLY_LOGGED: Final = frozenset({"INFO", "DBSIZE"})
"""arq sends these at its start, for a line in its log. The worker works without them. Without INFO it cannot check
whether this Redis keeps the data that it accepted."""

_COMMAND: Final = re.compile(r"run the '([a-z|]+)' command")
_KEYS: Final = re.compile(r"permissions? to access (?:one of the|a) keys?")


@dataclass(frozen=True)
class _Probe:
    """One command, and the missing part of the rule if the command or its key is refused."""

    words: tuple[str, ...]
    command: str
    key: str


async def lacking_rights(redis: Redis, prefix: str, inbox: str) -> list[str]:
    """Return the missing parts of the user's rule, in the form of ACL SETUSER: `+hset`, `~customer-sync:*`.

    Raises RedisError.
    """
    keys, reader = RecordKeys(prefix), reader_key(inbox)
    ours = (keys.totals, f"~{prefix}:*")
    named = [(key, f"~{key}") for key in (keys.outcomes, inbox, reader)]
    patterns = [ours, *named, ("arq:job:0", "~arq:*")]
    before = [_probe(command, arguments, ours) for command, arguments in BEFORE.items()]
    queued = [_probe(command, arguments, ours) for command, arguments in QUEUED.items()]
    of_keys = [_probe("exists", QUEUED["exists"], pattern) for pattern in patterns]
    connection = await redis.connection_pool.get_connection()
    try:
        lacking = await _lacking(connection, [*before, _probe("multi", (), ours)])
        # Without MULTI the other commands would be executed.
        if "+multi" not in lacking:
            lacking += await _lacking(connection, [*queued, *of_keys])
    finally:
        await connection.disconnect()
        await redis.connection_pool.release(connection)
    return list(dict.fromkeys(lacking))


def _probe(command: str, arguments: Sequence[str], key_and_pattern: tuple[str, str]) -> _Probe:
    key, pattern = key_and_pattern
    words = (*command.split("|"), *(key if word == KEY else word for word in arguments))
    return _Probe(words, f"+{command}", pattern)


async def _lacking(connection: AbstractConnection, probes: Sequence[_Probe]) -> list[str]:
    """Send the probes in one round trip, and return the missing rights. Other errors are ignored."""
    await connection.send_packed_command(connection.pack_commands([probe.words for probe in probes]))
    lacking = []
    for probe in probes:
        try:
            await connection.read_response()
        except ResponseError as error:
            # Redis reports a refused EXEC as an aborted transaction, so check the text instead of the class.
            if _KEYS.search(str(error)):
                lacking.append(probe.key)
            elif _COMMAND.search(str(error)):
                lacking.append(probe.command)
    return lacking


def right_to(error: NoPermissionError) -> str:
    """Return the right that this error names, in the form of ACL SETUSER. Empty if a key is not allowed."""
    found = _COMMAND.search(str(error))
    return f"+{found.group(1)}" if found else ""
