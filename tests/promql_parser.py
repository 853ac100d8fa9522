"""The part of PromQL that our alerts and our dashboard use, as nested tuples. Knows no metric and no value."""

import re
from typing import Any, Final

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
"""In a unit of time, in seconds."""
BINDING: Final = {"and": 1, "==": 2, "!=": 2, ">": 2, "<": 2, ">=": 2, "<=": 2, "+": 3, "-": 3, "*": 4, "/": 4}
"""How closely an operator binds."""
AGGREGATIONS: Final = frozenset({"max", "min", "sum", "avg"})
TOKEN: Final = re.compile(r'\s*(?:(\d+(?:\.\d+)?)|([a-zA-Z_:][\w:]*)|("[^"]*")|(==|!=|>=|<=|=~|[-+*/<>(){}\[\],=]))')


class PromQLError(ValueError):
    """Not an expression, or one that is not known here."""


def parse(expression: str) -> Any:
    """The expression as nested tuples, each beginning with its kind. Raises PromQLError."""
    tokens, at = [], 0
    while at < len(expression.rstrip()):
        match = TOKEN.match(expression, at)
        if match is None:
            raise PromQLError(f"not known: {expression[at:]!r}")
        tokens.append(match.group().strip())
        at = match.end()
    parser = _Parser(tokens)
    tree = parser.expression(0)
    if parser.next:
        raise PromQLError(f"not expected: {parser.next!r}")
    return tree


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens

    @property
    def next(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def take(self, expected: str = "") -> str:
        if not self._tokens or (expected and self.next != expected):
            raise PromQLError(f"expected {expected or 'more'}, found {self.next!r}")
        return self._tokens.pop(0)

    def expression(self, binding: int) -> Any:
        left = self.operand()
        while BINDING.get(self.next, 0) > binding:
            operation = self.take()
            left = ("binary", operation, left, self.expression(BINDING[operation]))
        return left

    def operand(self) -> Any:
        token = self.take()
        if token == "(":
            inside = self.expression(0)
            self.take(")")
            return inside
        if token[0].isdigit():
            return ("number", float(token))
        if not re.match(r"[a-zA-Z_:]", token):
            raise PromQLError(f"not expected: {token!r}")
        if token in AGGREGATIONS:
            return self.aggregation(token)
        if self.next == "(":
            return ("call", token, self.arguments())
        return self.selector(token)

    def aggregation(self, name: str) -> Any:
        by: list[str] = []
        if self.next == "by":
            self.take()
            self.take("(")
            while self.next != ")":
                by.append(self.take())
                if self.next == ",":
                    self.take()
            self.take(")")
        arguments = self.arguments()
        if len(arguments) != 1:
            raise PromQLError(f"{name} takes one expression")
        return ("aggregate", name, by, arguments[0])

    def arguments(self) -> list[Any]:
        self.take("(")
        found = []
        while self.next != ")":
            found.append(self.expression(0))
            if self.next == ",":
                self.take()
        self.take(")")
        return found

    def selector(self, name: str) -> Any:
        matchers = {}
        if self.next == "{":
            self.take()
            while self.next != "}":
                label = self.take()
                self.take("=")
                matchers[label] = self.take().strip('"')
                if self.next == ",":
                    self.take()
            self.take("}")
        if self.next != "[":
            return ("select", name, matchers, 0)
        self.take()
        number, unit = self.take(), self.take()
        self.take("]")
        return ("select", name, matchers, float(number) * SECONDS[unit])
