"""The facts that every file of a deployment must agree with: commands, settings, routes and the time to stop."""

import re
import shlex
import tomllib
from pathlib import Path

from config.settings import Settings
from worker.loops.heartbeat import Heartbeat
from worker.main import WAIT_FOR_JOBS_SECONDS
from worker.status.shared_state import SharedState
from worker.telemetry.metrics import Metrics
from worker.telemetry.spans import CLOSE_SECONDS
from worker.web.server import make_app

ROOT = Path(__file__).parents[2]
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines())
COMMANDS = {name: shlex.split(command) for name, command in PROCFILE.items()}
SETTINGS = {str(field.validation_alias.choices[0]) for field in Settings.model_fields.values()}  # type: ignore[union-attr]  # each has AliasChoices
REQUIRED = {str(field.validation_alias.choices[0]) for field in Settings.model_fields.values() if field.is_required()}  # type: ignore[union-attr]  # as above
SECRETS = {
    str(field.validation_alias.choices[0])  # type: ignore[union-attr]  # as above
    for field in Settings.model_fields.values()
    if "SecretStr" in str(field.annotation)
}
SPARE_SECONDS = 5
STOP_SECONDS = WAIT_FOR_JOBS_SECONDS + CLOSE_SECONDS + SPARE_SECONDS
"""The shortest time between SIGTERM and SIGKILL."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
Instruction = tuple[str, str]
"""The name of an instruction of the Dockerfile, and its arguments in one line."""


def instructions() -> list[list[Instruction]]:
    """Return the instructions of each stage, the first of which is FROM. Those before the first stage are left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[list[Instruction]] = []
    for line in filter(None, text.splitlines()):
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((name, arguments))
    return stages


def arguments_of(name: str, stage: list[Instruction]) -> list[str]:
    """Return the arguments of each instruction of this name."""
    return [arguments for each, arguments in stage if each == name]


def variables_of(stage: list[Instruction]) -> dict[str, str]:
    """Return the variables that a stage sets."""
    return dict(pair.split("=", 1) for line in arguments_of("ENV", stage) for pair in shlex.split(line))


def health_routes() -> set[str]:
    """Return the paths that every process serves on its port."""

    async def no_state() -> SharedState | None:
        return None

    metrics = Metrics()
    app = make_app(Heartbeat(metrics.lagged), no_state, metrics)
    return {resource.canonical for resource in app.router.resources()}
