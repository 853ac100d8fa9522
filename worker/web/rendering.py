"""How values become a page: templates that escape, styles and scripts that a page carries inside, and their policy.

Whatever comes from outside goes through `visible`, because names and ids are not ours: markup is escaped by the
templates, and what could hide or turn around other text is shown as its code. No page of its own belongs in here.
"""

import hashlib
import unicodedata
from base64 import b64encode
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from worker.formatting import utc

JOINERS = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
"""Invisible, and part of names in Persian and in the languages of India, and of emoji."""
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """The text with its control characters, marks of direction, halves of surrogate pairs and the like as `\\u202e`."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in JOINERS or unicodedata.category(character) not in HIDDEN_CATEGORIES:
        return character
    return f"\\u{ord(character):04x}"


@cache
def asset(name: str) -> Markup:
    """A style sheet or script of ours, as it goes into a page."""
    return Markup((files(__package__) / "static" / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def source_of(text: str) -> str:
    """What a content security policy calls an inline style or script of exactly this text."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def moment(milliseconds: int) -> Markup:
    """A time in milliseconds since the epoch, for people and for machines, in UTC."""
    at = utc(milliseconds)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), short_time(milliseconds))


def short_time(milliseconds: int) -> str:
    """A time in milliseconds since the epoch, to the minute, in UTC."""
    return utc(milliseconds).strftime("%Y-%m-%d %H:%M UTC")


def json_for_script(value: object) -> Markup:
    """A value as JSON that cannot end the element it is in."""
    return htmlsafe_json_dumps(value, ensure_ascii=False, separators=(",", ":"))


@cache
def templates() -> Environment:
    """The templates; a name that one of them does not know is an error, not a blank."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "moment": moment, "short_time": short_time, "count": "{:,}".format}
    environment.globals |= {"asset": asset}
    return environment
