"""The Dockerfile: a pinned Python, hashed locks, its own user, one process that gets signals, and a small context."""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.deployments import (
    COMMANDS,
    DOCKERFILE,
    PROJECT,
    ROOT,
    SETTINGS,
    arguments_of,
    health_routes,
    instructions,
    variables_of,
)
from worker.redis_client import PATIENCE_SECONDS

BUILD, LAST = instructions()
BUILD_STEPS = [step.strip() for run in arguments_of("RUN", BUILD) for step in run.split("&&")]
IGNORED = [
    line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
]


def copied() -> dict[str, str]:
    """Return the paths that the image takes from this repository, each with its path in the image."""
    paths = {}
    for line in arguments_of("COPY", BUILD):
        *names, target = shlex.split(line.replace("${REQUIREMENTS}", "requirements.txt"))
        paths.update({name: name if target == "./" else target for name in names})
    return paths


def packages() -> dict[str, str]:
    """Return the folders of `copied`."""
    return {name: target for name, target in copied().items() if (ROOT / name).is_dir()}


def tracked(folders: list[str]) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    return listed.stdout.splitlines()


def is_in_context(path: str) -> bool:
    """Return whether a builder gets a file: the last pattern that matches it or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    is_in = True
    for line in IGNORED:
        pattern = line.removeprefix("!")
        # `**/` stands for any number of folders, also none.
        names = [each.rpartition("/")[2] for each in above] if pattern.startswith("**/") else above
        if any(matches(name, pattern.removeprefix("**/")) for name in names):
            is_in = line.startswith("!")
    return is_in


def matches(path: str, pattern: str) -> bool:
    """Return whether the pattern matches. Unlike in fnmatch, `*` matches no slash."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def test_both_stages_use_one_pinned_and_tested_python() -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE)
    pinned = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", base)
    assert pinned is not None
    assert f"Programming Language :: Python :: {pinned[1]}" in PROJECT["classifiers"]
    assert [arguments_of("FROM", stage) for stage in (BUILD, LAST)] == [["${BASE} AS build"], ["${BASE}"]]


def test_every_package_comes_from_a_hashed_lock() -> None:
    installs = [step for step in BUILD_STEPS if " install " in step and "--no-index" not in step]
    assert len(installs) == 2
    for step in installs:
        assert "--require-hashes" in step
        assert "--only-binary :all:" in step
    assert "setuptools==" in (ROOT / "requirements-build.txt").read_text(encoding="utf-8")


def test_last_stage_adds_only_a_user_and_the_virtual_environment() -> None:
    assert arguments_of("COPY", LAST) == ["--from=build /opt/venv /opt/venv"]
    (run,) = arguments_of("RUN", LAST)
    assert [step.split()[0] for step in run.split("&&")] == ["groupadd", "useradd", "install"]


def test_process_has_its_own_user_without_a_shell() -> None:
    (user,) = arguments_of("USER", LAST)
    number, group = user.split(":")
    (run,) = arguments_of("RUN", LAST)
    assert f"groupadd --gid {group} " in run
    assert f"useradd --uid {number} --gid {group} " in run
    assert "--shell /usr/sbin/nologin" in run


def test_process_is_the_procfile_worker_and_gets_sigterm() -> None:
    (command,) = arguments_of("CMD", LAST)
    # A list starts no shell.
    assert json.loads(command) == COMMANDS["worker"]
    (entry,) = arguments_of("ENTRYPOINT", LAST)
    # tests/integration/test_process_one.py sends a signal through it.
    assert json.loads(entry) == ["dumb-init", "--"]
    assert arguments_of("STOPSIGNAL", LAST) == ["SIGTERM"]


def test_variables_are_settings() -> None:
    variables = variables_of(LAST)
    assert set(variables) - {"PATH", "PYTHONDONTWRITEBYTECODE"} <= SETTINGS
    assert arguments_of("EXPOSE", LAST) == [variables["PORT"]]
    (run,) = arguments_of("RUN", LAST)
    assert run.endswith(variables["SCAN_SPOOL"])
    assert arguments_of("WORKDIR", LAST) == [variables["SCAN_SPOOL"]]


def test_health_check_requests_liveness_and_waits_for_the_start() -> None:
    (line,) = arguments_of("HEALTHCHECK", LAST)
    options, _, command = line.partition(" CMD ")
    (path,) = re.findall(r"'(/\w+)'", command)
    assert path == "/healthz"
    assert path in health_routes()
    (start_seconds,) = re.findall(r"--start-period=(\d+)s", options)
    assert int(start_seconds) > PATIENCE_SECONDS
    assert json.loads(command)[0] == "python"


def test_context_has_what_is_copied_and_nothing_else() -> None:
    names = [*copied(), "requirements-otel.txt"]
    assert sorted(line[1:] for line in IGNORED if line[0] == "!") == sorted(names)
    assert [path for path in tracked(names) if not is_in_context(path)] == []
    assert [path for path in tracked([]) if is_in_context(path)] == tracked(names)
    assert {f"{target}*" for target in packages().values()} == set(find_packages())


def find_packages() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^packages\.find\.include = (\[.*\])$", text, re.MULTILINE)
    found: list[str] = json.loads(listed)
    return found


@pytest.mark.parametrize(
    "path",
    [
        *(".env", ".env.live", ".git/config", ".venv/bin/python", "tests/conftest.py", "docs/deploy.md", "redis.pem"),
        *("config/.env", "config/.env.live", "jobs/sync/stripe.key", "worker/web/tls.pem", "jobs/__pycache__/a.pyc"),
        *("compose.yaml", "deploy/redis.acl", "worker/worker.log", "build/bench.json"),
        *("clients/python/pyproject.toml", "clients/python/src/other/a.py", "clients/typescript/package.json"),
    ],
)
def test_secrets_tests_and_caches_stay_out_of_the_context(path: str) -> None:
    assert not is_in_context(path)


def test_build_step_packs_every_file_of_the_packages(tmp_path: Path) -> None:
    for name, target in copied().items():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / target)
    (step,) = [step for step in BUILD_STEPS if step.startswith("pip wheel ")]
    command = [sys.executable, "-m", *shlex.split(step)]
    subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    modules = [target + path.removeprefix(name) for name, target in packages().items() for path in tracked([name])]
    assert [path for path in modules if path not in packed] == []
