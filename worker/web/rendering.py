"""The rendering of pages: templates that escape, inline styles and scripts, and their policy.

Every value from outside goes through `visible`. The templates escape its markup, and `visible` shows characters that
could hide or reverse other text as codes. The pages themselves are not in here.
"""

import hashlib
import unicodedata
from base64 import b64encode
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from worker.formatting import short_time, utc

JOINERS = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
"""Invisible characters that names in Persian and in Indian languages need, and emoji too."""
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return the text with control characters, direction marks and lone surrogates as codes such as `\\u202e`."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in JOINERS or unicodedata.category(character) not in HIDDEN_CATEGORIES:
        return character
    return f"\\u{ord(character):04x}"


@cache
def asset(name: str) -> Markup:
    """Return one of our style sheets or scripts, for use inside a page."""
    return Markup((files(__package__) / "static" / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def source_of(text: str) -> str:
    """Return the content security policy's source for an inline style or script with exactly this text."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def moment(milliseconds: int) -> Markup:
    """Return a time in milliseconds since the epoch as a `<time>` element in UTC."""
    at = utc(milliseconds)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), short_time(milliseconds))


def json_for_script(value: object) -> Markup:
    """Return a value as JSON that cannot end its script element."""
    return htmlsafe_json_dumps(value, ensure_ascii=False, separators=(",", ":"))


@cache
def templates() -> Environment:
    """Return the templates. An unknown name in a template is an error, not a blank."""
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
