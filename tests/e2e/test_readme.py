"""Run the commands and samples of the README and docs/ as they are written, if they can run here."""

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jobs.events import new_update, read_entry
from sandbox.everything import Sandbox, sandbox
from tests.conftest import INBOX
from tests.support.commands import customer_sync
from tests.support.processes import ROOT, environment_with, free_port, worker

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNBOOK = (DOCS / "operations.md").read_text(encoding="utf-8")
COMMANDS = RUNBOOK[RUNBOOK.index("\n## Commands\n") : RUNBOOK.index("\n## Health and metrics\n")]
"""The runbook's list of commands. The commands of its other sections need an incident."""
PAGES = [README, *((DOCS / name).read_text(encoding="utf-8") for name in ("events.md", "scan.md")), COMMANDS]
DOCUMENTS = [ROOT / "README.md", ROOT / "clients" / "python" / "README.md", *sorted(DOCS.glob("*.md"))]
"""The samples of the client's README and the first events of docs/events.md are run in tests/e2e/clients."""
EVENT = new_update(customer_id="user_42", changes={"email": "ann@example.com", "send_email_receipts": True})


def samples(language: str) -> list[str]:
    return [sample for page in PAGES for sample in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)]


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        yield everything


async def shell(command: str, box: Sandbox) -> str:
    """Run a line in a shell, and return its output."""
    environment = environment_with({**box.environment, "PYTHONPATH": str(ROOT)})
    process = await asyncio.create_subprocess_shell(
        command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_redis_cli_sample_sends_the_event(box: Sandbox) -> None:
    (line,) = [line for block in samples("sh") for line in block.splitlines() if line.startswith("redis-cli XADD")]
    # redis-cli may not be installed, so the test sends the words of the line.
    program, *words = shlex.split(line)
    assert program == "redis-cli"
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.execute_command(*words)
        ((_, fields),) = await redis.xrange(INBOX)
    assert read_entry(fields) == EVENT


async def test_python_sample_sends_the_event_and_prints_its_outcome(box: Sandbox) -> None:
    (sample,) = samples("python")
    box.autumn.seed("user_42")
    async with worker(box.environment):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            sample.replace("wait_seconds=10", "wait_seconds=100"),
            cwd=ROOT,
            env=environment_with({**box.environment, "PYTHONPATH": str(ROOT)}),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    assert "Outcome(status='applied', customer_id='user_42'" in output.decode()
    assert box.autumn.customers["user_42"]["email"] == "ann@example.com"


async def test_sandbox_runs_worker_and_scanner_as_in_readme(box: Sandbox, tmp_path: Path) -> None:
    (block,) = [block for block in samples("sh") if "scanner.log" in block]
    block = re.sub(r"--wait \d+", "--wait 100", block)
    ports = {"8080": free_port(), "8081": free_port()}
    for written, free in ports.items():
        block = block.replace(f"PORT={written}", f"PORT={free}")
    # The commands that still run are stopped after the last line.
    kept = re.sub(r"2>(\S+) &", rf'2>"{tmp_path}/\1" & started="$started $!"', block)
    printed = await shell(f"{kept}kill $started; wait; true", box)
    assert "status: applied" in printed
    assert "in Stripe: cus_" in printed
    for name, port in zip(("worker.log", "scanner.log"), ports.values(), strict=True):
        assert f'"port": {port}, "event": "port_opened"' in (tmp_path / name).read_text(encoding="utf-8")


def commands(beginning: str) -> list[list[str]]:
    """Return the unique `customer-sync` lines that start with `beginning`, in order, split into words like a shell."""
    blocks = [block.replace("\\\n", "") for block in samples("sh") if "PORT=" not in block]
    lines = [tuple(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines()]
    begin = ("customer-sync", *beginning.split())
    return [list(words) for words in dict.fromkeys(lines) if words[: len(begin)] == begin]


async def run(words: list[str], box: Sandbox, folder: Path = ROOT) -> tuple[int, str]:
    code, output, errors = await customer_sync(*words[1:], folder=folder, environment=environment_with(box.environment))
    return code, output + errors


async def test_operating_commands_run(box: Sandbox) -> None:
    box.autumn.seed("user_42")
    lines = [words for words in commands("") if words not in [*commands("dead"), *commands("scan")]]
    assert len(lines) == 9
    async with worker(box.environment):
        _, sent = await run(["customer-sync", "send", "user_42", '{"name": "Ann"}', "--wait", "100"], box)
        event = sent.split()[1]
        for words in lines:
            if "--watch" in words:  # It needs a terminal: tests/e2e/cli/test_watch.py.
                continue
            code, output = await run([event if word == "ID" else word for word in words], box)
            assert (code, bool(output)) == (0, True), output


async def test_commands_about_scans_run(box: Sandbox, tmp_path: Path) -> None:
    box.autumn.seed("user_42")
    for number in range(9):
        metadata = {"autumn_id": f"user_{number}", "autumn_send_email_receipts": "false"}
        box.autumn.seed(f"user_{number}", stripe_id=box.stripe.seed_customer(metadata=metadata)["id"])
    lines = commands("scan")
    assert len(lines) == 6
    for words in lines:
        code, output = await run(words, box, tmp_path)
        # Exit code 2 means drift. A customer whose reconcile is requested is left out.
        assert code in {0, 2}, output
    assert set(os.listdir(tmp_path)) == {"scan.json", "scan.csv", "scan.html"}


async def test_commands_about_dead_letters_run(box: Sandbox) -> None:
    lines = commands("dead")
    assert len(lines) == 5
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        for words in lines:
            letter = {"entry": "5-0", "reason": "customer_not_found", "attempts": "1", "sent.customer_id": "user_42"}
            letter_id = await redis.xadd("customer-sync:dead", dict(letter.items()))
            code, output = await run([letter_id.decode() if word == "ID" else word for word in words], box)
            assert (code, bool(output)) == (0, True), output
        assert await redis.xlen("customer-sync:dead") == 0


@pytest.mark.parametrize("language", ["js", "ruby"])
def test_samples_that_cannot_run_here_have_the_same_fields(language: str) -> None:
    (sample,) = [sample for sample in samples(language) if '"customer-updates"' in sample]
    found = re.search(r"\{ (email: .*?) \}", sample)
    assert found is not None
    changes = json.loads("{" + re.sub(r"(\w+): ", r'"\1": ', found.group(1)) + "}")
    assert new_update(customer_id="user_42", changes=changes) == EVENT
    assert re.search(r'customer_id"?(:| =>) "user_42"', sample)


def test_every_make_target_that_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        named = re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert {one or other for one, other in named} <= targets, path.name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_resolves(path: Path) -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tests = re.findall(r"`((?:unit|integration|e2e|browser|contract|chaos)/[\w/]+\.py)`", text)
    code = re.findall(r"`((?:jobs|worker|config|sandbox|tests|deploy|docs)/[\w./]+)`", text)
    assert [name for name in [*(f"tests/{test}" for test in tests), *code] if not (ROOT / name).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", README))
    assert linked == {path.name for path in DOCS.glob("*.md")}


def test_readme_stays_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 180
    assert max(map(len, lines)) <= 160
