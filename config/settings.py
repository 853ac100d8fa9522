"""Every setting of the worker, read once from the environment and `.env`, checked, and handed on.

White space around a value is no part of it, because secret files end in a newline. An empty value counts as not set.
Nothing else in the project reads the environment, but for OpenTelemetry's own variables (worker.telemetry.traces). No
setting is read at import.
"""

import re
import ssl
import unicodedata
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.connection import parse_url

from config.autumn_versions import DEFAULT_VERSION, is_version, supports_events, supports_scans
from config.redis_options import check_redis_options

Mode = Literal["live", "test"]
Place = TypeVar("Place", bound="RedisPlace")

AUTUMN_KEY_PREFIXES: dict[str, Mode] = {"am_sk_live_": "live", "am_sk_test_": "test"}
STRIPE_KEY_PREFIXES: dict[str, Mode] = {"sk_live_": "live", "rk_live_": "live", "sk_test_": "test", "rk_test_": "test"}
STRIPE_DEFAULT_RATE: dict[Mode, float] = {"live": 80, "test": 20}

PRINTABLE_ASCII: Final = re.compile(r"[!-~]+")
"""What keys and addresses are made of."""
OF_SEVERAL_LINES: Final = frozenset({"redis_certificate", "stripe_metadata_keys"})

METADATA_KEY_MAX, METADATA_KEYS_FREE = 40, 48
"""Characters of a key of Stripe's metadata, and the keys that are left beside our own two."""


class SettingsError(Exception):
    """The environment is not usable as it is; the text says which variables and what to do."""


def _setting(name: str, default: Any = ..., **bounds: Any) -> Any:
    return Field(default, validation_alias=AliasChoices(name), **bounds)


class RedisPlace(BaseSettings):
    """Where our keys are. The field's alias is the name of the environment variable."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    redis_url: SecretStr = _setting("REDIS_URL")
    """Where Redis is; a secret because the URL may hold a password."""
    redis_certificate: str | None = _setting("REDIS_CERTIFICATE", None)
    """The certificate of a Redis that no authority vouches for, in PEM: this one alone is trusted then."""
    inbox_stream: str = _setting("INBOX_STREAM", "customer-updates", min_length=1)
    """The stream that apps add their changes to."""
    key_prefix: str = _setting("KEY_PREFIX", "customer-sync", min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    """Begins every key of ours in Redis."""

    @model_validator(mode="before")
    @classmethod
    def _without_white_space_and_empty_values(cls, values: Any) -> Any:
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in stripped.items() if value != ""}

    @field_validator("*", mode="before")
    @classmethod
    def _no_control_characters(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and info.field_name not in OF_SEVERAL_LINES and _has_control_characters(value):
            raise ValueError("has a line break, another control character or broken UTF-8 in it")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_address(cls, value: SecretStr) -> SecretStr:
        if not PRINTABLE_ASCII.fullmatch(value.get_secret_value()):
            raise ValueError("has white space or a character that is not ASCII in it: write such a one as %XX")
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("has to begin with redis://, rediss:// or unix://")
        try:
            address = urlsplit(value.get_secret_value())._replace(query="").geturl()
            parse_url(address)  # type: ignore[no-untyped-call]  # of redis-py
        except ValueError:
            # Without the reason, which may quote a part of the password.
            raise ValueError(
                "is no address: write redis://USER:PASSWORD@HOST:PORT/0, with the password's / ? # @ as %2F %3F %23 %40"
            ) from None
        check_redis_options(value.get_secret_value())
        return value

    @field_validator("redis_certificate")
    @classmethod
    def _one_certificate(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=value)
        except (ssl.SSLError, ValueError, TypeError):
            raise ValueError("is no certificate in PEM") from None
        return value

    @model_validator(mode="after")
    def _certificate_goes_with_tls(self) -> "RedisPlace":
        if self.redis_certificate and not self.redis_url.get_secret_value().startswith("rediss://"):
            raise ValueError("REDIS_CERTIFICATE: is of use only where REDIS_URL begins with rediss://")
        return self

    @model_validator(mode="after")
    def _keys_do_not_meet(self) -> "RedisPlace":
        if self.key_prefix == "arq":
            raise ValueError("KEY_PREFIX: arq is the prefix of arq's own keys: choose another one")
        own = (f"{self.key_prefix}:", "arq:")
        if self.inbox_stream.startswith(own) or self.inbox_stream == f"{self.key_prefix}-outcomes":
            raise ValueError(
                f"INBOX_STREAM: {self.inbox_stream} is a key of the worker's own: choose a name that does not begin "
                f"with {' or '.join(own)} and is not {self.key_prefix}-outcomes"
            )
        return self


class Measures(RedisPlace):
    """What it takes beside to judge how the work goes: rates and the schedule of scans. It needs no key of a service.

    Where STRIPE_API_KEY is set it tells the mode, as the worker's own does; nothing is called with it.
    """

    autumn_updates_per_second: float = _setting("AUTUMN_UPDATES_PER_SECOND", 20.0, gt=0, le=1000)
    """Over all workers. Autumn allows 25 for an organisation's environment, shared with its other callers."""
    stripe_api_key: SecretStr | None = _setting("STRIPE_API_KEY", None)
    stripe_requests_per_second: Annotated[float, Field(gt=0, le=10_000)] | None = _setting(
        "STRIPE_REQUESTS_PER_SECOND", None
    )
    """Over all workers; unset means 80 in live mode (of Stripe's 100) and 20 in test mode (of 25)."""
    scan_schedule: str = _setting("SCAN_SCHEDULE", "17 3 * * *")
    """When both sides are compared, as cron writes it, in UTC."""

    @field_validator("stripe_api_key")
    @classmethod
    def _stripe_characters(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else _key_of_ascii(value)

    @field_validator("scan_schedule")
    @classmethod
    def _some_time(cls, value: str) -> str:
        try:
            next(CronSim(value, datetime.now(UTC)))
        except CronSimError as error:
            raise ValueError(f"{error}: write it as cron does, such as 17 3 * * *") from None
        except StopIteration:
            raise ValueError("names a time that never comes") from None
        return value

    @property
    def mode(self) -> Mode | None:
        """The mode of the key; None where there is none that tells it."""
        key = "" if self.stripe_api_key is None else self.stripe_api_key.get_secret_value()
        return next((mode for prefix, mode in STRIPE_KEY_PREFIXES.items() if key.startswith(prefix)), None)

    @property
    def stripe_rate(self) -> float | None:
        """Requests to Stripe a second, over all workers and endpoints; None where the default depends on the mode."""
        return self.stripe_requests_per_second or (None if self.mode is None else STRIPE_DEFAULT_RATE[self.mode])


class Settings(Measures):
    """All the settings of the worker."""

    autumn_secret_key: SecretStr = _setting("AUTUMN_SECRET_KEY")
    """`am_sk_test_…` or `am_sk_live_…`; the key decides Autumn's environment."""
    autumn_api_url: str = _setting("AUTUMN_API_URL", "https://api.useautumn.com")
    autumn_api_version: str = _setting("AUTUMN_API_VERSION", DEFAULT_VERSION)
    """Pinned on every call, because the answer's shape depends on it. Events need 2.1 or later, scans 2.3."""
    autumn_max_in_flight: int = _setting("AUTUMN_MAX_IN_FLIGHT", 6, ge=1, le=100)
    """Updates at a time over all workers. Autumn's database pool locks up at 10 to 14."""
    stripe_api_key: SecretStr = _setting("STRIPE_API_KEY")
    """A secret or restricted key, live or test; its mode has to be that of Autumn's key."""
    stripe_api_base: str = _setting("STRIPE_API_BASE", "https://api.stripe.com")
    stripe_endpoint_requests_per_second: float = _setting("STRIPE_ENDPOINT_REQUESTS_PER_SECOND", 20.0, gt=0, le=10_000)
    """For each endpoint, over all workers. Stripe allows 25."""
    retry_for_seconds: float = _setting("RETRY_FOR", 86_400.0, ge=0, le=7 * 86_400)
    """How long a change that fails is tried again before it becomes a dead letter."""
    request_timeout_seconds: float = _setting("REQUEST_TIMEOUT", 30.0, gt=0, le=30)
    """For one call of either service, from its start to its end."""
    echo_check_seconds: float = _setting("ECHO_CHECK_SECONDS", 60.0, ge=0, le=480)
    """How long after a new name or e-mail, or a write of unknown fate, a customer is rechecked; 0 is never.

    Less than the ten minutes for which older values are known (jobs.plan.recheck).

    A webhook of Stripe, or an update that Autumn is still at after 60 s, may undo what came after it.
    """
    stripe_when_unlinked: Literal["create", "link-only", "report"] = _setting("STRIPE_WHEN_UNLINKED", "create")
    """A customer without a link: create a Stripe customer where none is ours, only link the one that is, or report."""
    stripe_when_gone: Literal["create", "link-only", "report"] = _setting("STRIPE_WHEN_GONE", "create")
    """The same where the linked Stripe customer is deleted or missing."""
    stripe_metadata_keys: Annotated[tuple[str, ...], NoDecode] = _setting("STRIPE_METADATA_KEYS", ())
    """Keys of Autumn's metadata, parted by commas, that are copied to the Stripe customer's."""
    autumn_when_missing: Literal["dead-letter", "create"] = _setting("AUTUMN_WHEN_MISSING", "dead-letter")
    """What becomes of a change of a customer that Autumn does not know."""
    receipts: Literal["mirror", "open", "recover"] = _setting("RECEIPTS", "mirror")
    """Show the flag in Stripe only, set the address of payments that are still open, or mail those of late, too."""
    receipts_recover_hours: float = _setting("RECEIPTS_RECOVER_HOURS", 24.0, gt=0, le=30 * 24)
    """How long ago a payment may have succeeded for its receipt to be mailed with `recover`."""
    scan_share: float = _setting("SCAN_SHARE", 0.5, gt=0, le=1)
    """The part of each rate that a scan may use; the rest is kept for events."""
    scan_max_changed: float = _setting("SCAN_MAX_CHANGED", 0.2, ge=0, le=1)
    """The part of all customers that a scan may have changed; of more it only reports."""
    scan_spool: str = _setting("SCAN_SPOOL", "")
    """The folder where a scan keeps both lists while it runs; empty is one below the system's for temporary files."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = _setting("PORT", None)
    """Where /healthz, /readyz, /metrics and the operator's page are served, on all interfaces; unset, nothing is."""
    operator_password: Annotated[SecretStr, Field(min_length=12)] | None = _setting("OPERATOR_PASSWORD", None)
    """Opens the page at / of PORT. Unset, that page can only be read, at an address that the worker logs."""
    log_format: Literal["json", "console"] = _setting("LOG_FORMAT", "json")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting("LOG_LEVEL", "INFO")

    @field_validator("autumn_secret_key")
    @classmethod
    def _autumn_prefix(cls, value: SecretStr) -> SecretStr:
        mode_of(_key_of_ascii(value), AUTUMN_KEY_PREFIXES)
        return value

    @field_validator("autumn_api_version")
    @classmethod
    def _version_characters(cls, value: str) -> str:
        if not PRINTABLE_ASCII.fullmatch(value):
            raise ValueError("has white space or a character that is not ASCII in it: write it as 2.3.0")
        return value

    @field_validator("stripe_api_key")
    @classmethod
    def _stripe_prefix(cls, value: SecretStr) -> SecretStr:
        mode_of(value, STRIPE_KEY_PREFIXES)
        return value

    @field_validator("autumn_api_version")
    @classmethod
    def _usable_version(cls, value: str) -> str:
        if not is_version(value):
            raise ValueError(f"is not a version of Autumn's API, such as {DEFAULT_VERSION}")
        if not supports_events(value):
            raise ValueError(f"is older than 2.1: set {DEFAULT_VERSION} (events need 2.1 or later, scans 2.3)")
        return value

    @field_validator("autumn_api_url", "stripe_api_base")
    @classmethod
    def _http_address(cls, value: str) -> str:
        if not PRINTABLE_ASCII.fullmatch(value):
            raise ValueError("has white space or a character that is not ASCII in it")
        try:
            parts = urlsplit(value)
            host = parts.hostname if parts.port != 0 and parts.username is None else None
        except ValueError:
            host = None
        if "?" in value or "#" in value:
            raise ValueError("has a ? or a # in it: give the address alone")
        if host is None or parts.scheme not in {"http", "https"}:
            raise ValueError("has to begin with https:// and a host's name, with a number for a port if there is one")
        if parts.scheme == "http" and not _is_this_machine(host):
            raise ValueError(
                "has to begin with https://, because the key goes along; http:// is for this machine alone"
            )
        return value.rstrip("/")

    @field_validator("stripe_metadata_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        return tuple(key.strip() for key in value.split(",") if key.strip()) if isinstance(value, str) else value

    @field_validator("stripe_metadata_keys")
    @classmethod
    def _fitting_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            if _has_control_characters(key):
                raise ValueError("has a control character or broken UTF-8 in a key")
            if len(key) > METADATA_KEY_MAX or set(key) & set("[]"):
                raise ValueError(f"{key}: Stripe takes keys of {METADATA_KEY_MAX} characters at most, without [ and ]")
            if key.startswith("autumn_"):
                raise ValueError(f"{key}: keys that begin with autumn_ belong to Autumn and to this worker")
        if len(set(keys)) > METADATA_KEYS_FREE:
            raise ValueError(f"names {len(set(keys))} keys: Stripe takes 50, two of which this worker needs")
        return tuple(dict.fromkeys(keys))

    @model_validator(mode="after")
    def _one_mode(self) -> "Settings":
        autumn = mode_of(self.autumn_secret_key, AUTUMN_KEY_PREFIXES)
        if autumn != self.mode:
            raise ValueError(
                f"AUTUMN_SECRET_KEY is a {autumn} key and STRIPE_API_KEY a {self.mode} key: use two of the same mode"
            )
        return self

    @property
    def mode(self) -> Mode:
        """The mode both keys are of."""
        return mode_of(self.stripe_api_key, STRIPE_KEY_PREFIXES)

    @property
    def stripe_rate(self) -> float:
        """Requests to Stripe a second, over all workers and endpoints."""
        return self.stripe_requests_per_second or STRIPE_DEFAULT_RATE[self.mode]


def mode_of(key: SecretStr, prefixes: dict[str, Mode]) -> Mode:
    """The mode that a key's prefix tells. Raises ValueError, without the key, for another prefix or nothing more."""
    for prefix, mode in prefixes.items():
        if key.get_secret_value() == prefix:
            raise ValueError("ends after its first letters: copy the whole key")
        if key.get_secret_value().startswith(prefix):
            return mode
    raise ValueError("has to begin with one of " + ", ".join(prefixes))


def _key_of_ascii(key: SecretStr) -> SecretStr:
    """Return the key. Raises ValueError, without the key, if it holds a character that no key has."""
    if not PRINTABLE_ASCII.fullmatch(key.get_secret_value()):
        raise ValueError("has white space or a character that is not ASCII in it: copy the whole key again")
    return key


def _has_control_characters(value: str) -> bool:
    """Whether it has any, besides tabs. Lone surrogates are counted in: they stand for bytes that are no UTF-8."""
    return any(unicodedata.category(each) in {"Cc", "Cs"} and each != "\t" for each in value)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(**given: Any) -> Settings:
    """Read the settings; `given` ones, by the variable's name, win over the environment.

    Raises SettingsError with a line for each variable that is missing or wrong.
    """
    return _load(Settings, **given)


def load_scan_settings(**given: Any) -> Settings:
    """As `load_settings`, for whoever scans. Raises SettingsError also for a version of Autumn without cursors."""
    settings = load_settings(**given)
    version = settings.autumn_api_version
    if not supports_scans(version):
        raise SettingsError(
            f"AUTUMN_API_VERSION: a scan reads lists by cursor, and {version} has none: set {DEFAULT_VERSION}"
        )
    return settings


def load_place() -> RedisPlace:
    """Read only where our keys are, for tools that need no key of a service. Raises SettingsError."""
    return _load(RedisPlace)


def load_measures() -> Measures:
    """Read only what it takes to judge how the work goes. Raises SettingsError."""
    return _load(Measures)


def _load(kind: type[Place], **given: Any) -> Place:
    try:
        return kind(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error))) from None
    except UnicodeDecodeError:
        raise SettingsError(".env: is not text in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f".env: cannot be read ({error.strerror})") from None


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            text = "is not set; put it into the environment or into .env"
        elif problem["type"] == "too_short":
            text = f"has to have {problem['ctx']['min_length']} characters at least"
        lines.append(f"{name}: {text}" if name else text)
    return lines
