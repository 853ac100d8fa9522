"""Each platform's file runs the Procfile's commands, gives them time to stop, and names real settings."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployments import DOCKERFILE, PROCFILE, PROJECT, ROOT, SETTINGS, STOP_SECONDS
from tests.tools import SYSTEMD_ANALYZE, NoToolError

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def heroku() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((ROOT / "app.json").read_text(encoding="utf-8"))
    return read


def render() -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = yaml.safe_load((ROOT / "render.yaml").read_text(encoding="utf-8"))["services"]
    return read


def fly() -> dict[str, Any]:
    return tomllib.loads((ROOT / "fly.toml").read_text(encoding="utf-8"))


def unit(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_procfile_has_process_types() -> None:
    assert "worker" in PROCFILE


def test_heroku_has_every_process_type_and_required_settings() -> None:
    assert set(heroku()["formation"]) == set(PROCFILE)
    assert set(heroku()["env"]) <= SETTINGS
    required = {name for name, field in heroku()["env"].items() if field.get("required", True)}
    assert required == {"AUTUMN_SECRET_KEY", "STRIPE_API_KEY"}


def test_render_runs_procfile_commands_on_a_noeviction_redis() -> None:
    running = [service for service in render() if "startCommand" in service]
    assert sorted(service["startCommand"] for service in running) == sorted(PROCFILE.values())
    (redis,) = [service for service in render() if service["type"] == "keyvalue"]
    assert redis["maxmemoryPolicy"] == "noeviction"
    assert redis["ipAllowList"] == []
    for service in running:
        assert service["maxShutdownDelaySeconds"] >= STOP_SECONDS
        names = {variable["key"]: variable for variable in service["envVars"]}
        assert set(names) - {"PYTHON_VERSION"} <= SETTINGS
        assert names["REDIS_URL"]["fromService"]["name"] == redis["name"]
        assert {"AUTUMN_SECRET_KEY", "STRIPE_API_KEY"} <= set(names)


def test_every_platform_has_the_python_of_the_image_and_its_line_is_tested() -> None:
    (version,) = re.findall(r"^ARG BASE=python:([\d.]+)-", DOCKERFILE, re.MULTILINE)
    variables = [each for service in render() for each in service.get("envVars", ()) if each["key"] == "PYTHON_VERSION"]
    assert [each["value"] for each in variables] == [version, version]
    line = version.rpartition(".")[0]
    # Heroku's buildpack, which Fly uses too, reads a file that has only the line.
    documents = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("deploy.md", "development.md")}
    assert re.findall(r"^echo (\S+) >\.python-version", documents["deploy.md"], re.MULTILINE) == [line, line]
    assert f"Programming Language :: Python :: {line}" in PROJECT["classifiers"]
    assert re.search(rf"^\|.*\| {re.escape(line)}\.\d+ \|", documents["development.md"], re.MULTILINE)


def test_fly_runs_procfile_commands_and_stops_them_correctly() -> None:
    assert fly()["processes"] == PROCFILE
    assert fly()["kill_signal"] == "SIGTERM"
    assert fly()["kill_timeout"] >= STOP_SECONDS
    for part in ("vm", "restart"):
        assert {name for each in fly()[part] for name in each["processes"]} == set(PROCFILE)


def test_fly_probes_each_process_on_its_port() -> None:
    assert set(fly()["env"]) <= SETTINGS
    port = int(fly()["env"]["PORT"])
    (check,) = fly()["checks"].values()
    assert (check["type"], check["path"], check["port"]) == ("http", "/healthz", port)
    (scraped,) = fly()["metrics"]
    assert (scraped["path"], scraped["port"]) == ("/metrics", port)
    for asked in (check, scraped):
        assert set(asked["processes"]) == set(PROCFILE)


def test_no_platform_uses_readyz_as_liveness() -> None:
    for name in ("app.json", "render.yaml", "fly.toml", *(f"deploy/systemd/{path.name}" for path in UNITS)):
        assert "/readyz" not in (ROOT / name).read_text(encoding="utf-8"), name


def test_every_process_type_has_a_systemd_unit() -> None:
    commands = {re.sub(r"^\S*/", "", unit(path)["ExecStart"]) for path in UNITS}
    assert commands == set(PROCFILE.values())


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_unit_restarts_except_for_wrong_settings(path: Path) -> None:
    read = unit(path)
    assert read["Restart"] == "always"
    assert read["RestartPreventExitStatus"] == "78"
    assert int(read["TimeoutStopSec"]) >= STOP_SECONDS


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_every_unit(path: Path, tmp_path: Path) -> None:
    try:
        verifier = SYSTEMD_ANALYZE.find()
    except NoToolError as error:
        pytest.skip(str(error))
    # As installed, with the command and the folder that the unit names.
    text = path.read_text(encoding="utf-8").replace("/opt/customer-sync", str(tmp_path / "app"))
    command = tmp_path / "app" / ".venv" / "bin" / "arq"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n", encoding="utf-8")
    command.chmod(0o755)
    installed = tmp_path / path.name.replace("@", "@1")
    installed.write_text(text, encoding="utf-8")
    checked = subprocess.run([verifier, "verify", "--man=no", installed], capture_output=True, text=True, check=False)
    about_it = [line for line in checked.stderr.splitlines() if installed.name in line]
    assert (checked.returncode, about_it) == (0, [])
