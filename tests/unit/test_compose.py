"""compose.yaml: the Procfile's commands on a Valkey that keeps its data, and the sandbox without keys."""

import re
from typing import Any

import pytest
import yaml

from sandbox.control import control_routes
from sandbox.stripe.server import StripeSimulator
from tests.support.deployments import (
    COMMANDS,
    PROJECT,
    REQUIRED,
    ROOT,
    SETTINGS,
    STOP_SECONDS,
    arguments_of,
    instructions,
    variables_of,
)

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "valkey"}
PROCESSES = {name: service for name, service in OURS.items() if name != "sandbox"}
IN_SANDBOX = {name: service for name, service in PROCESSES.items() if name.startswith("sandbox-")}
LAST = instructions()[-1]
SPOOL = variables_of(LAST)["SCAN_SPOOL"]
USER, GROUP = arguments_of("USER", LAST)[0].split(":")
KEYS = {
    *("build", "cap_drop", "command", "depends_on", "env_file", "environment", "healthcheck", "image"),
    *("network_mode", "ports", "profiles", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs"),
    "volumes",
}
"""The keys of a service that this file uses. Compose refuses a name that it does not know."""


def seconds(text: str) -> int:
    (number,) = re.fullmatch(r"(\d+)s", text).groups()  # type: ignore[union-attr]  # the tests fail if it does not match
    return int(number)


def test_file_is_complete_and_has_no_unknown_key() -> None:
    assert {name for name in COMPOSE if not name.startswith("x-")} == {"name", "services", "volumes"}
    for service in SERVICES.values():
        assert set(service) <= KEYS
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        named = {mount.split(":")[0] for mount in service.get("volumes", []) if ":" in mount}
        assert named <= set(COMPOSE["volumes"])


def test_processes_run_the_procfile_commands() -> None:
    assert {name: service["command"] for name, service in PROCESSES.items()} == {
        **COMMANDS,
        **{f"sandbox-{name}": command for name, command in COMMANDS.items()},
    }


@pytest.mark.parametrize("service", OURS.values(), ids=OURS)
def test_containers_are_confined_and_get_time_to_stop(service: dict[str, Any]) -> None:
    assert (service["build"], service["image"]) == (".", f"customer-sync:{PROJECT['version']}")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert seconds(service["stop_grace_period"]) >= STOP_SECONDS
    # This would replace the image's process 1, which passes signals on.
    assert "entrypoint" not in service
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("service", PROCESSES.values(), ids=PROCESSES)
def test_variables_are_settings(service: dict[str, Any]) -> None:
    assert set(service["environment"]) <= SETTINGS
    assert set(service["environment"]) | of_env_file(service) >= REQUIRED


def of_env_file(service: dict[str, Any]) -> set[str]:
    """Return the settings that the service gets from .env, as .env.example shows it."""
    if service.get("env_file") != [{"path": ".env", "required": False}]:
        return set()
    return set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))


def test_valkey_keeps_its_data_and_evicts_nothing() -> None:
    valkey = SERVICES["valkey"]
    assert re.fullmatch(r"valkey/valkey:\d+\.\d+\.\d+-alpine", valkey["image"])
    command = valkey["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--appendonly"], options["--maxmemory-policy"]) == ("yes", "noeviction")
    assert valkey["volumes"] == ["valkey:/data"]
    assert valkey["healthcheck"]["test"] == ["CMD", "valkey-cli", "-e", "ping"]
    assert "ports" not in valkey


def test_processes_start_after_valkey_or_the_sandbox() -> None:
    for name, service in OURS.items():
        awaited = "sandbox" if name in IN_SANDBOX else "valkey"
        assert service["depends_on"] == {awaited: {"condition": "service_healthy"}}


def test_ports_are_published_only_for_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"worker", "sandbox"}
    worker_port = SERVICES["worker"]["environment"]["PORT"]
    assert published["worker"] == [f"127.0.0.1:{worker_port}:{worker_port}"]
    (stripe_port,) = [
        part.removeprefix("--stripe-port=") for part in SERVICES["sandbox"]["command"] if "stripe" in part
    ]
    sandbox_port = SERVICES["sandbox-worker"]["environment"]["PORT"]
    assert published["sandbox"] == [f"127.0.0.1:{port}:{port}" for port in (sandbox_port, stripe_port)]


def test_sandbox_starts_by_profile_and_shares_one_network() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["sandbox", *IN_SANDBOX]
    assert all(service["profiles"] == ["sandbox"] for service in [SERVICES["sandbox"], *IN_SANDBOX.values()])
    assert {service["network_mode"] for service in IN_SANDBOX.values()} == {"service:sandbox"}
    ports = [service["environment"]["PORT"] for service in IN_SANDBOX.values()]
    assert len(set(ports)) == len(ports)


def test_sandbox_and_real_keys_use_different_databases() -> None:
    real = {SERVICES[name]["environment"]["REDIS_URL"] for name in COMMANDS}
    simulated = {service["environment"]["REDIS_URL"] for service in IN_SANDBOX.values()}
    assert (real, simulated) == ({"redis://valkey:6379/0"}, {"redis://valkey:6379/1"})


def test_sandbox_health_check_requests_a_route() -> None:
    check = SERVICES["sandbox"]["healthcheck"]["test"]
    ((port, path),) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(check))
    assert f"--stripe-port={port}" in SERVICES["sandbox"]["command"]
    assert path in {route.path for route in control_routes(StripeSimulator())}


@pytest.mark.parametrize("name", ["scanner", "sandbox-scanner"])
def test_scanners_may_write_their_spool(name: str) -> None:
    mounted = [*SERVICES[name].get("volumes", []), *SERVICES[name].get("tmpfs", [])]
    (spool,) = [mount for mount in mounted if SPOOL in mount]
    assert spool in {f"spool:{SPOOL}", f"{SPOOL}:uid={USER},gid={GROUP},mode=0700"}
