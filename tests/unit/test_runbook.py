"""docs/operations.md is complete: it covers each code, reason, log event, alert and key."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from worker.status.advice import FAILURES, REASONS, TO_DROP

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SOURCES = [path for folder in ("jobs", "worker", "config") for path in (ROOT / folder).rglob("*.py")]
CODE = {
    "Halt": 1,
    "GiveUp": 1,
    "Absent": 1,
    "TryAgain": 1,
    "TimedOut": 1,
    "Limited": 1,
    "Refusal": 0,
    "DeadLettered": 0,
}
"""The position of the code in the arguments of each of these errors."""
PASSING = {"TryAgain", "TimedOut", "Limited"}
HALTS_BY_CODE = "_REMEDIES"


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found.group(1)


def headed(title: str) -> set[str]:
    """Return the codes that the headings of a section name."""
    return {
        code for heading in re.findall(r"^### (.*)$", section(title), re.M) for code in re.findall("`(.*?)`", heading)
    }


def trees() -> Iterator[ast.Module]:
    for path in SOURCES:
        yield ast.parse(path.read_text(encoding="utf-8"))


def constants() -> dict[str, str]:
    """Return the module-level string constants by name."""
    return {
        target.id: node.value.value
        for tree in trees()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def written_codes(*errors: str) -> set[str]:
    """Return the codes that our code gives these errors. Codes of a service are not among them."""
    found, names = set(), constants()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in errors:
                code = node.args[CODE[node.func.id]]
                if isinstance(code, ast.Constant):
                    found.add(str(code.value))
                elif isinstance(code, ast.Name) and code.id in names:
                    found.add(names[code.id])
    return found


def halts_by_code() -> set[str]:
    """Return the codes of Autumn that cause a halt."""
    for tree in trees():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.target.id == HALTS_BY_CODE
            ):
                assert isinstance(node.value, ast.Dict)
                return {key.value for key in node.value.keys if isinstance(key, ast.Constant)}  # type: ignore[misc]  # all are strings
    raise AssertionError(f"no {HALTS_BY_CODE}")


def logged_events() -> set[str]:
    return {
        str(node.args[0].value)
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_halt_has_its_heading() -> None:
    halts = written_codes("Halt") | halts_by_code()
    assert {"wrong_mode", "other_account", "invalid_key", "no_auth_header"} <= halts
    assert halts - headed("Halts") == set()


def test_every_reason_of_a_dead_letter_has_its_heading() -> None:
    in_scripts = {
        reason
        for script in (ROOT / "jobs" / "queue" / "lua").glob("*.lua")
        for reason in re.findall(r"reason = '([\w-]+)'", script.read_text(encoding="utf-8"))
    }
    reasons = written_codes(*(CODE.keys() - PASSING - {"Halt"})) | in_scripts | REASONS.keys()
    assert {"invalid_event", "needs-review", "too_long", "unexpected", "not_taken"} <= reasons
    assert reasons - headed("Dead letters") == set()


def test_reason_to_drop_dead_letters_is_stated() -> None:
    advised = {reason for reason, to_do in REASONS.items() if re.search(r"\bdrop this( one)?\.$", to_do)}
    assert advised == TO_DROP
    for reason in TO_DROP:
        found = re.search(rf"^### .*`{reason}`.*\n\n((?:.+\n)+)", section("Dead letters"), re.MULTILINE)
        assert found is not None, reason
        assert "drop the letter" in " ".join(found.group(1).split()), reason


def test_every_transient_failure_is_marked_as_transient() -> None:
    passing = written_codes(*PASSING)
    assert {"timeout", "claimed_elsewhere", "unexpected_response"} <= passing
    listed = set(re.findall("`(.*?)`", section("Dead letters"))) | headed("Halts")
    assert (passing | FAILURES.keys()) - listed == set()


def test_log_events_and_their_list_agree() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section("What is logged"), re.MULTILINE)
    assert {event for row in rows for event in re.findall("`(.*?)`", row)} == logged_events()


def test_log_event_is_a_constant() -> None:
    for path in SOURCES:
        for call in re.findall(r"\blog\.(?:debug|info|warning|error|critical|exception)\(\s*(.)", path.read_text()):
            assert call == '"', path.name


@pytest.mark.parametrize("path", list((ROOT / "docs").glob("alerts.yml")))
def test_every_alert_has_its_heading(path: Path) -> None:
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^### (.*)$", section("Alerts"), re.M)}
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["runbook"].partition("#")[2] in anchors, rule["alert"]


def test_every_link_within_the_runbook_resolves() -> None:
    plain = [re.sub(r"[^\w -]", "", heading) for heading in re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)]
    headings = {heading.lower().replace(" ", "-") for heading in plain}
    assert set(re.findall(r"\]\(#(.*?)\)", RUNBOOK)) <= headings


def test_every_command_that_the_runbook_names_exists() -> None:
    commands = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "worker" / "cli").rglob("*.py"))
    for name in set(re.findall(r"customer-sync ([a-z]+)\b", RUNBOOK)):
        assert re.search(rf"\({name}\)|def {name}\(|name=\"{name}\"", commands), name
