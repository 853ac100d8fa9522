"""The checks of keys and secrets in the settings, and of the addresses that they are sent to.

No error text contains a key or a secret.
"""

import re
import unicodedata
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

Mode = Literal["live", "test"]

AUTUMN_KEY_PREFIXES: Final[dict[str, Mode]] = {"am_sk_live_": "live", "am_sk_test_": "test"}
STRIPE_KEY_PREFIXES: Final[dict[str, Mode]] = {
    "sk_live_": "live",
    "rk_live_": "live",
    "sk_test_": "test",
    "rk_test_": "test",
}
WEBHOOK_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - not a secret
PRINTABLE_ASCII: Final = re.compile(r"[!-~]+")
"""The characters of keys and addresses."""
TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
TOKEN_MIN: Final = 20
"""The shortest token of INTAKE_TOKENS, in characters, because no limit on wrong tokens protects it."""


def mode_of(key: SecretStr, prefixes: dict[str, Mode]) -> Mode:
    """Return the mode of a key from its prefix.

    Raises ValueError, without the key, if the prefix is unknown or if the key is only a prefix.
    """
    for prefix, mode in prefixes.items():
        if key.get_secret_value() == prefix:
            raise ValueError("is only the beginning of a key: copy the whole key")
        if key.get_secret_value().startswith(prefix):
            return mode
    raise ValueError("must begin with one of " + ", ".join(prefixes))


def key_of_ascii(key: SecretStr) -> SecretStr:
    """Return the key. Raises ValueError, without the key, if it contains a character that no key has."""
    if not PRINTABLE_ASCII.fullmatch(key.get_secret_value()):
        raise ValueError("contains white space or a character that is not ASCII: copy the whole key again")
    return key


def webhook_secrets(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Return the secrets, each once. Raises ValueError, with the number of a malformed secret and without its text."""
    for number, secret in enumerate(secrets, start=1):
        text = secret.get_secret_value()
        if not text.startswith(WEBHOOK_SECRET_PREFIX):
            raise ValueError(f"secret {number} does not begin with {WEBHOOK_SECRET_PREFIX}: copy it from the endpoint")
        if text == WEBHOOK_SECRET_PREFIX:
            raise ValueError(f"secret {number} is only the beginning of a secret: copy the whole secret")
        if not PRINTABLE_ASCII.fullmatch(text):
            raise ValueError(f"secret {number} contains white space or a character that is not ASCII: copy it again")
    return tuple(dict.fromkeys(secrets))


def intake_tokens(entries: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Return the entries, each once. Raises ValueError with number and name of a wrong one, without its token."""
    names: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        name, colon, token = entry.get_secret_value().partition(":")
        if not colon:
            raise ValueError(f"entry {number} has no colon: write it as name:token")
        if not TOKEN_NAME.fullmatch(name):
            raise ValueError(f"entry {number} needs a name of 1 to 40 letters, digits, - and _ before its colon")
        # A longer name may be a token, if both were swapped.
        which = f"entry {number} ({name})" if len(name) < TOKEN_MIN else f"entry {number}"
        if len(token) < TOKEN_MIN:
            raise ValueError(f"{which} needs a token of {TOKEN_MIN} characters or more: use openssl rand -hex 32")
        if not PRINTABLE_ASCII.fullmatch(token):
            raise ValueError(f"{which} contains white space or a character that is not ASCII: remove it")
        if names.setdefault(token, name) != name:
            raise ValueError(f"{which} has the token of an earlier entry: give each name its own token")
    return tuple(dict.fromkeys(entries))


def has_control_characters(value: str) -> bool:
    """Return whether the value has any, except tabs. Lone surrogates count: they stand for bytes that are not UTF-8."""
    return any(unicodedata.category(each) in {"Cc", "Cs"} and each != "\t" for each in value)


def service_address(value: str) -> str:
    """Return the address without a slash at its end. Raises ValueError if a key may not be sent to it."""
    if not PRINTABLE_ASCII.fullmatch(value):
        raise ValueError("contains white space or a character that is not ASCII: remove it")
    try:
        parts = urlsplit(value)
        host = parts.hostname if parts.port != 0 and parts.username is None else None
    except ValueError:
        host = None
    if "?" in value or "#" in value:
        raise ValueError("contains a ? or a #: write only the address")
    if host is None or parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with https:// and a host name; a port, if there is one, must be a number")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise ValueError("must begin with https://, because requests contain secrets; only localhost may use http://")
    return value.rstrip("/")


def receiver_address(value: SecretStr) -> SecretStr:
    """Return the address of a receiver of notifications, which may have a query.

    Raises ValueError, without the address, which may contain a secret.
    """
    address, _, query = value.get_secret_value().partition("?")
    service_address(address)
    if query and (not PRINTABLE_ASCII.fullmatch(query) or "#" in query):
        raise ValueError("contains white space, a # or a character that is not ASCII: remove it")
    return value


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
