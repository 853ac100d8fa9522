"""Rules for the whole repository: sizes, the generated schema, and no address of a registry."""

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from jobs.events import CHANGES_MAX_BYTES
from jobs.schema import event_schema

ROOT = Path(__file__).parents[2]
FILE_LINES, FUNCTION_LINES = 400, 40
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
]
PYTHON = [path for path in TRACKED if path.suffix == ".py"]
EXPORTS = ROOT / "clients" / "python" / "src" / "autumn_sync_client" / "__init__.py"
"""It has the names that apps import."""


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and len(body) > 1:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_repository_has_sources() -> None:
    assert len(PYTHON) > 40


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small_and_modules_documented(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert body_lines(node) <= FUNCTION_LINES, f"{node.name} has {body_lines(node)} lines"
    assert not text or ast.get_docstring(tree), "the module has no docstring"
    if path.name == "__init__.py" and path != EXPORTS:
        assert len(tree.body) <= 1, "an __init__ is a docstring and nothing else"


def test_event_schema_in_the_docs_is_the_model() -> None:
    written = json.loads((ROOT / "docs" / "customer-update.schema.json").read_text(encoding="utf-8"))
    assert written == event_schema(), "run: make schema"


def test_fields_in_the_docs_have_the_limits_of_the_model() -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    limits = dict(re.findall(r"^\| `(\w+)` \|.* ([\d,]+ (?:characters|bytes))\b", page, re.MULTILINE))
    properties = event_schema()["properties"]
    longest = {name: longest_text(field) for name, field in properties.items()}
    in_characters = {name: f"{most:,} characters" for name, most in longest.items() if most is not None}
    assert limits == {**in_characters, "changes": f"{CHANGES_MAX_BYTES:,} bytes"}


def longest_text(field: dict[str, Any]) -> int | None:
    """Return the limit of a field of the schema in characters, None if it has none."""
    return next((kind["maxLength"] for kind in (field, *field.get("anyOf", ())) if "maxLength" in kind), None)


def test_readme_names_the_tested_pythons_of_the_classifiers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    classified = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    (named,) = re.findall(r"The tested Pythons are ([\d., and]+\d)\.", readme)
    assert re.findall(r"\d\.\d+", named) == classified


def test_nothing_names_a_registry_or_machine_path() -> None:
    registry = re.compile(
        r"pypi\.org|pythonhosted|registry\.npm|(?<!emit-)index-url|(?<![\w.])/(?:home|root|mnt|tmp)/\w", re.IGNORECASE
    )
    for path in TRACKED:
        if path == Path(__file__).resolve() or path.suffix == ".png" or path.is_dir():
            continue
        found = registry.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)} says {found.group() if found else ''}"


def test_no_table_of_the_documents_lacks_a_number() -> None:
    # A word in capitals stands for a missing figure. Names like SIGKILL are only in a table's first column.
    left = re.compile(r"\|[^|\n]+\|\s*[A-Z]{5,}\s*\||^[A-Z]{5,}$", re.MULTILINE)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        found = left.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)} still says {found.group() if found else ''}"


def test_every_locked_package_has_a_hash() -> None:
    locks = sorted(ROOT.glob("requirements*.txt"))
    least = {"requirements": 20, "requirements-otel": 20, "requirements-dev": 20, "requirements-deploy": 5}
    assert {lock.stem for lock in locks} == {*least, "requirements-build", "requirements-image", "requirements-uv"}
    for lock in locks:
        packages = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip())
        assert len(packages) >= least.get(lock.stem, 1)
        assert all("--hash=sha256:" in package for package in packages)
