"""Each package has few modules and a docstring, and no module is split off only to be short."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = ("jobs", "worker", "config", "sandbox", "autumn_sync_client")
MODULES_MAX = 13
SHORT_LINES = 60
EXPORTS = {"autumn_sync_client"}
"""Packages whose `__init__` also exports the names that apps import."""
SHORT_FOR_A_REASON = {
    "jobs.autumn.versions": "the table of Autumn's fields, apart from the outcomes of events",
    "jobs.schema": "a program, which apps and make schema run",
    "jobs.scan.links": "a by-product of the lists, apart from the comparison",
    "jobs.sync.log": "the one list of what a sync logs",
    "sandbox.serve": "tests and benchmarks serve simulators, too",
    "worker.checks.owner": "one check of the doctor, as its neighbours",
    "worker.loops.intake": "one loop, as its neighbours",
}
"""Short modules that only one other module imports, and the reason why each is separate."""


def modules() -> dict[str, Path]:
    """Return the modules by dotted name, without the packages' `__init__` and the programs."""
    found = [path for top in TOP for path in sorted((ROOT / top).rglob("*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in found
        if path.stem not in {"__init__", "__main__"}
    }


def importers() -> dict[str, set[str]]:
    """Return the importers of each module."""
    known, found = modules(), defaultdict(set)
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for imported in {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & set(known):
                    found[imported].add(name)
    return found


def test_no_package_has_too_many_modules() -> None:
    packages = defaultdict(list)
    for name in modules():
        packages[name.rpartition(".")[0]].append(name)
    assert {package: len(names) for package, names in packages.items() if len(names) > MODULES_MAX} == {}


def test_every_package_states_its_purpose() -> None:
    for path in {each.parent for each in modules().values()}:
        tree = ast.parse((path / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        assert len(tree.body) == 1 or path.name in EXPORTS, f"{path}: a package's __init__.py is only a docstring"


def test_no_module_is_split_only_by_size() -> None:
    known, found = modules(), importers()
    short = {name for name, path in known.items() if len(path.read_text(encoding="utf-8").splitlines()) < SHORT_LINES}
    assert {name for name in short if len(found[name]) == 1} == SHORT_FOR_A_REASON.keys()
