"""The Lua scripts beside this module, registered with a Redis client. What each one does, its head says."""

from importlib.resources import files

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


def load_scripts(redis: Redis, *names: str) -> dict[str, AsyncScript]:
    """The scripts of jobs/lua by name; each is called by its hash and sent again where Redis does not know it."""
    folder = files("jobs") / "lua"
    return {name: redis.register_script((folder / f"{name}.lua").read_text(encoding="utf-8")) for name in names}
