"""Find words that this project does not use, because the glossary or plain English has another one.

Names are those of modules, classes, functions and their arguments. Text is every docstring, comment, string, document
and template.
"""

import ast
import inspect
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIXES = ("py", "md", "html", "js", "css", "lua", "yml", "yaml", "json", "service", "acl")
FOLDERS = ("jobs", "worker", "config", "clients", "sandbox", "tests", "deploy", "docs")
THIS = Path(__file__)

NAMES = re.compile(r"(?:^|_)(doors?|put_back|second_look|ending|story|mends?|mended|whoever|anew)(?:_|$)")
"""Parts of a name, in snake case, for which the glossary has another word."""
PRODUCT = ("jobs", "worker", "config", "clients")
PRODUCT_NAMES = re.compile(
    r"(?:^|_)(said|told|tells?|ask|asked|asking|looks?|mail|rounds?|bury|buried|call_who|letters_of)(?!_?up)(?:_|$)"
)
"""Further parts in the product. A test may speak of an e-mail or of round trips.

A letter, a line, a place, a turn and a pair are also words for other things, so a reader has to judge those.
"""
IDENTIFIER = re.compile(r"[a-z]+(_[a-z]+)*")
MANY = 100
"""The least number of names that a check must have seen, so that it cannot pass on nothing."""
TEXT = re.compile(
    r"\b(whoever|anew|thereof|mends?|mended|mending|of late|wherever it|second look(s)?|put(s)? back"
    r"|the doors?|a door to)\b",
    re.IGNORECASE,
)
OPENING = re.compile(r"(What|How|Who|Whose|Whom)\b")
"""A docstring says what the thing is or does, so it does not start with a question word."""


def files(folder: str, suffix: str) -> list[Path]:
    """Return the files of a folder that Git does not ignore, such as clients/typescript/node_modules."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"{folder}/*.{suffix}"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in sorted(set(listed.stdout.splitlines())) if (ROOT / name).exists()]


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from files(folder, "py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def names_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower()
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id.lower()


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every string that stands as a statement: the docstrings, those of constants and fields included."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, inspect.cleandoc(text)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that a person reads: of a Python file, only its comments and strings."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if tokenize.tok_name[token.type] in {"COMMENT", "STRING", "FSTRING_MIDDLE"}:
            yield from enumerate(token.string.splitlines(), token.start[0])


def documents(folder: str) -> Iterator[Path]:
    if folder == ".":
        yield ROOT / "README.md"
        yield ROOT / "Makefile"
        return
    for suffix in SUFFIXES:
        yield from files(folder, suffix)


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_use_the_glossary(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources(folder)
        for line, name in [(1, path.stem), *names_of(tree_of(path))]
        if (replaced(name) if folder in PRODUCT else NAMES.search(name))
    ]
    assert found == []


def replaced(name: str) -> bool:
    """Return whether the product's glossary has another word for a part of the name."""
    return bool(NAMES.search(name) or PRODUCT_NAMES.search(name))


def test_keys_and_log_events_are_of_the_glossary() -> None:
    """Keys of JSON and Redis, log events, metrics and codes are strings of lower-case words."""
    strings = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node.value)
        for path in sources(*PRODUCT)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and IDENTIFIER.fullmatch(node.value)
    ]
    assert [(place, text) for place, text in strings if replaced(text)] == []
    assert len(strings) > MANY


def test_names_in_scripts_are_of_the_glossary() -> None:
    names = {
        (path.name, name)
        for path in (ROOT / "jobs" / "queue" / "lua").glob("*.lua")
        for declared in re.findall(r"\b(?:local function|local|function)\s+([\w, ]+)", path.read_text(encoding="utf-8"))
        for name in [path.stem, *re.findall(r"\w+", declared)]
    }
    assert [(file, name) for file, name in sorted(names) if replaced(name)] == []
    assert len(names) > MANY


@pytest.mark.parametrize("folder", [*FOLDERS, "."])
def test_text_uses_plain_words(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip()}"
        for path in documents(folder)
        if path != THIS
        for line, text in texts(path)
        if TEXT.search(text)
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstring_does_not_start_with_a_question_word(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sources(folder)
        for line, text in docstrings(tree_of(path))
        if OPENING.match(text)
    ]
    assert found == []


@pytest.mark.parametrize("text", ["Whoever asks", "begin anew", "what to mend", "of late", "a second look", "the door"])
def test_forbidden_text_is_found(text: str) -> None:
    assert TEXT.search(text)


@pytest.mark.parametrize("name", ["door", "the_doors", "put_back", "second_look_due", "is_told", "looks"])
def test_replaced_name_is_found(name: str) -> None:
    assert replaced(name)
