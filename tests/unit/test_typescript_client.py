"""The files of clients/typescript that are generated. These tests need no Node."""

import json
import re

import pytest

from tests.support.typescript_types import SCHEMA, TYPES, typescript_types
from tests.tools import TYPESCRIPT_CLIENT

LOCK = json.loads((TYPESCRIPT_CLIENT / "package-lock.json").read_text(encoding="utf-8"))
PACKAGE = json.loads((TYPESCRIPT_CLIENT / "package.json").read_text(encoding="utf-8"))


def test_types_are_those_of_the_schema() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert TYPES.read_text(encoding="utf-8") == typescript_types(schema), "run: make schema"


def test_keyword_that_the_client_does_not_check_is_named() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["$defs"]["InvoiceSettings"]["properties"]["custom_fields"]["anyOf"][0]["items"]["format"] = "uuid"
    with pytest.raises(ValueError, match="does not check these keywords: format"):
        typescript_types(schema)


def test_package_exports_every_type_of_the_event() -> None:
    types = re.findall(r"^export (?:interface|type) (\w+)", TYPES.read_text(encoding="utf-8"), re.MULTILINE)
    index = (TYPES.parent / "index.ts").read_text(encoding="utf-8")
    exported = re.search(r'export type \{([^}]*)\} from "./event.js"', index)
    assert exported is not None
    assert re.findall(r"\w+", exported[1]) == sorted(types)


def test_lock_has_hashes_and_no_addresses() -> None:
    packages = {path: package for path, package in LOCK["packages"].items() if path}
    assert len(packages) > 20
    assert [path for path, package in packages.items() if not package.get("integrity", "").startswith("sha512-")] == []
    assert [path for path, package in packages.items() if "resolved" in package] == [], (
        "run npm install --package-lock-only --omit-lockfile-registry-resolved in clients/typescript"
    )


def test_lock_is_of_the_package() -> None:
    root = LOCK["packages"][""]
    assert {name: root[name] for name in ("version", "devDependencies", "peerDependencies")} == {
        name: PACKAGE[name] for name in ("version", "devDependencies", "peerDependencies")
    }
    assert "dependencies" not in PACKAGE
