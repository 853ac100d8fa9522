"""Claims of docs/security.md that the source can prove: no unpickling, no visible secret, pinned packages."""

import ast
import inspect
import random
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import typer

from jobs.autumn.client import open_autumn
from jobs.stripe.client import open_stripe
from worker.cli.app import app
from worker.redis_client import open_briefly, open_redis
from worker.web.credentials import TRIES_A_MINUTE
from worker.web.sessions import SESSION_SECONDS

ROOT = Path(__file__).parents[2]
FOLDERS = ("jobs", "worker", "config", "sandbox", "autumn_sync_client")
SHIPPED = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
RUNS_WHAT_IT_READS = {"pickle", "cPickle", "_pickle", "dill", "marshal", "shelve", "jsonpickle"}
CALLS_OF_CODE = {"eval", "exec", "compile", "__import__"}
PASSWORD, KEY = "hunter2", "sk_test_verysecret"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_evaluates_data_as_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            assert {module.split(".")[0] for module in modules} & RUNS_WHAT_IT_READS == set()
        if isinstance(node, ast.Call):
            assert not (isinstance(node.func, ast.Name) and node.func.id in CALLS_OF_CODE)
            assert not any(keyword.arg in {"shell", "verify_ssl"} for keyword in node.keywords)
            # A caller may pass certificates, but nothing may turn off their check.
            checks = [keyword.value for keyword in node.keywords if keyword.arg == "verify"]
            assert all(isinstance(value, ast.Call) for value in checks)


def test_no_command_takes_a_secret_as_argument() -> None:
    seen = 0
    for command in _commands(app):
        for name in inspect.signature(command).parameters:
            seen += 1
            assert not re.search(r"key|secret|password|token|url|certificate", name), name
    assert seen > 5


def _commands(of: typer.Typer) -> list[Callable[..., Any]]:
    found = [each.callback for each in of.registered_commands if each.callback is not None]
    for group in of.registered_groups:
        assert group.typer_instance is not None
        found += _commands(group.typer_instance)
    return found


async def test_no_client_shows_its_secret() -> None:
    url = f"rediss://someone:{PASSWORD}@localhost:1/0"
    redis = open_redis(url, "prefix")
    async with (
        open_autumn(base_url="https://autumn.example", secret_key=KEY) as autumn,
        open_stripe(api_key=KEY, base_url="https://stripe.example", throttle=lambda _: nullcontext()) as stripe,
        open_briefly(url) as brief,
    ):
        shown = repr([autumn, stripe, redis, redis.connection_pool, brief, vars(autumn), vars(stripe)])
    assert PASSWORD not in shown
    assert KEY not in shown


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("requirements*.txt")))
def test_lock_pins_every_package_to_one_version(name: str) -> None:
    packages = re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8").strip())
    for package in packages:
        assert re.match(r"^[a-z0-9][a-z0-9._-]*==[\w.!+]+( ; [^\\]+)? \\\n", package), package.splitlines()[0]


def test_lease_tokens_do_not_use_the_random_module() -> None:
    assert random.__name__ not in (ROOT / "jobs" / "queue" / "mailbox.py").read_text(encoding="utf-8")


def test_document_states_what_the_page_password_opens() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = text[text.index("## Who can do what") : text.index("## What can go wrong")]
    assert [line for line in table.splitlines() if line.startswith("| anyone who knows `OPERATOR_PASSWORD`")]
    assert f"{SESSION_SECONDS // 3600} hours" in text
    assert f"{TRIES_A_MINUTE} wrong passwords a minute" in text


def test_document_names_existing_tests_and_files() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:unit|integration|e2e|browser)/[\w/]+\.py)`", text)
    assert named
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", runbook, re.MULTILINE)}
    assert set(re.findall(r"\]\(operations\.md#(.*?)\)", text)) <= headings
