"""Words that this project does not use: its glossary has another one, or plain English has.

Names are those of modules, classes, functions and their arguments. Text is every docstring, comment, string, document
and template. A line that has to use such a word, since it is somebody else's name, is listed in `ALLOWED`.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("jobs", "worker", "config", "sandbox", "tests", "deploy", "docs")
THIS = Path(__file__).relative_to(ROOT).as_posix()

NAMES = re.compile(r"(?:^|_)(doors?|put_back|second_look|ending|story|mended|whoever)(?:_|$)")
"""Parts of a name, in snake case, for which the glossary has another word."""
PRODUCT = ("jobs", "worker", "config")
PRODUCT_NAMES = re.compile(
    r"(?:^|_)(said|told|tells?|ask|asked|asking|looks?|mail|rounds?|bury|buried|call_who|letters_of)(?!_?up)(?:_|$)"
)
"""Further ones in the product. A test may speak of an e-mail or of the round trips."""
TEXT = re.compile(
    r"\b(whoever|anew|thereof|mends?|mended|mending|of late|wherever it|second look(s)?|put(s)? back"
    r"|the doors?|a door to)\b",
    re.IGNORECASE,
)
OPENING = re.compile(r"(What|How|Who|Whose|Whom)\b")
"""A docstring says what the thing is or does, so it does not begin like a question."""
ALLOWED: dict[str, str] = {}
"""From a line's text to why it keeps the word."""


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def names_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower()
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id.lower()


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with words that somebody reads: of a Python file, its comments and strings."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING}:
            yield from enumerate(token.string.splitlines(), token.start[0])


def documents() -> Iterator[Path]:
    yield ROOT / "README.md"
    yield ROOT / "Makefile"
    for folder in FOLDERS:
        for pattern in ("*.py", "*.md", "*.html", "*.js", "*.css", "*.lua", "*.yml", "*.yaml"):
            yield from sorted((ROOT / folder).rglob(pattern))


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_of_the_glossary(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources()
        if path.relative_to(ROOT).parts[0] == folder
        for line, name in [(1, path.stem), *names_of(ast.parse(path.read_text(encoding="utf-8")))]
        if NAMES.search(name) or (folder in PRODUCT and PRODUCT_NAMES.search(name))
    ]
    assert found == []


@pytest.mark.parametrize("folder", [*FOLDERS, "."])
def test_text_is_in_plain_words(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip()}"
        for path in documents()
        if (path.relative_to(ROOT).parts[0] if path.parent != ROOT else ".") == folder
        and path.relative_to(ROOT).as_posix() != THIS
        for line, text in texts(path)
        if TEXT.search(text) and text.strip() not in ALLOWED
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstring_does_not_begin_like_a_question(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sources()
        if path.relative_to(ROOT).parts[0] == folder
        for line, text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if OPENING.match(text)
    ]
    assert found == []
