"""The settings of the worker and what their values may be. config.loading reads them.

White space around a value is removed, because secret files end in a newline. An empty value counts as not set.
"""

import ssl
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.connection import parse_url

from autumn_sync_client.redis_commands import URL_FORM
from autumn_sync_client.versions import is_version
from config.autumn_versions import DEFAULT_VERSION, supports_events
from config.keys import (
    AUTUMN_KEY_PREFIXES,
    PRINTABLE_ASCII,
    STRIPE_KEY_PREFIXES,
    Mode,
    has_control_characters,
    intake_tokens,
    key_of_ascii,
    mode_of,
    receiver_address,
    service_address,
    webhook_secrets,
)
from config.redis_options import check_redis_options

STRIPE_DEFAULT_RATE: dict[Mode, float] = {"live": 80, "test": 20}

POLL_SECONDS, POLL_SECONDS_WITH_WEBHOOKS = 60.0, 300.0
"""The default pause between two polls of Stripe's events. Polls count against Stripe's allotment of reads."""
OF_SEVERAL_LINES: Final = frozenset({"redis_certificate", "stripe_metadata_keys"})

METADATA_KEY_MAX, METADATA_KEYS_FREE = 40, 48
"""The longest key of Stripe's metadata, in characters, and the number of keys that are free: Stripe's 50 less our 2."""


def _setting(name: str, default: Any = ..., **bounds: Any) -> Any:
    return Field(default, validation_alias=AliasChoices(name), **bounds)


class RedisPlace(BaseSettings):
    """The settings of Redis and of our keys in it. A field's alias is the name of its environment variable."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    redis_url: SecretStr = _setting("REDIS_URL")
    """The address of Redis: `redis://`, `rediss://` or `unix://`."""
    redis_certificate: str | None = _setting("REDIS_CERTIFICATE", None)
    """The certificate of a `rediss://` Redis that no public authority signed, in PEM. Only this one is trusted."""
    inbox_stream: str = _setting("INBOX_STREAM", "customer-updates", min_length=1)
    """The stream that apps add events to. Each deployment on a Redis needs its own."""
    key_prefix: str = _setting("KEY_PREFIX", "customer-sync", min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    """The beginning of every key in Redis. Each deployment on a Redis needs its own."""

    @model_validator(mode="before")
    @classmethod
    def _without_white_space_and_empty_values(cls, values: Any) -> Any:
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in stripped.items() if value != ""}

    @field_validator("*", mode="before")
    @classmethod
    def _no_control_characters(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and info.field_name not in OF_SEVERAL_LINES and has_control_characters(value):
            raise ValueError("contains a line break, another control character or broken UTF-8: remove it")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_address(cls, value: SecretStr) -> SecretStr:
        if not PRINTABLE_ASCII.fullmatch(value.get_secret_value()):
            raise ValueError("contains white space or a character that is not ASCII: write it as %XX")
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        try:
            address = urlsplit(value.get_secret_value())._replace(query="").geturl()
            parse_url(address)  # type: ignore[no-untyped-call]  # of redis-py
        except ValueError:
            # The reason is left out, because it may quote a part of the password.
            raise ValueError(f"is not a valid address: write {URL_FORM}") from None
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
            raise ValueError("is not a certificate in PEM format") from None
        return value

    @model_validator(mode="after")
    def _certificate_goes_with_tls(self) -> "RedisPlace":
        if self.redis_certificate and not self.redis_url.get_secret_value().startswith("rediss://"):
            raise ValueError("REDIS_CERTIFICATE: needs a REDIS_URL that begins with rediss://")
        return self

    @model_validator(mode="after")
    def _keys_do_not_meet(self) -> "RedisPlace":
        if self.key_prefix == "arq":
            raise ValueError("KEY_PREFIX: arq is the prefix of arq's own keys: choose another one")
        own = (f"{self.key_prefix}:", "arq:")
        if self.inbox_stream.startswith(own) or self.inbox_stream == f"{self.key_prefix}-outcomes":
            raise ValueError(
                f"INBOX_STREAM: {self.inbox_stream} is one of the worker's own keys: choose a name that does not begin "
                f"with {' or '.join(own)} and is not {self.key_prefix}-outcomes"
            )
        return self


class Measures(RedisPlace):
    """The settings that status and the page need: also the rates and the schedule of scans. No key is required.

    STRIPE_API_KEY, if it is set, only shows the mode.
    """

    autumn_updates_per_second: float = _setting("AUTUMN_UPDATES_PER_SECOND", 20.0, gt=0, le=1000)
    """Updates of Autumn a second, over all workers. Autumn allows 25, shared with your other callers."""
    stripe_api_key: SecretStr | None = _setting("STRIPE_API_KEY", None)
    stripe_requests_per_second: Annotated[float, Field(gt=0, le=10_000)] | None = _setting(
        "STRIPE_REQUESTS_PER_SECOND", None
    )
    """Requests to Stripe a second, over all workers. Unset: 80 in live mode, 20 in test mode."""
    scan_schedule: str = _setting("SCAN_SCHEDULE", "17 3 * * *")
    """The times of scans in cron syntax, in UTC. Workers need the same value, because `/readyz` judges by it."""

    stripe_events_poll_seconds: Annotated[int, Field(ge=0, le=3600)] | None = _setting(
        "STRIPE_EVENTS_POLL_SECONDS", None
    )
    """Seconds between two polls of Stripe's events. Unset: 60, or 300 with STRIPE_WEBHOOK_SECRETS. 0: no polls."""
    stripe_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = _setting("STRIPE_WEBHOOK_SECRETS", ())
    """Signing secrets of Stripe's webhooks, `whsec_…`, separated by commas. Unset: no `/stripe/webhook`."""

    @field_validator("stripe_webhook_secrets", mode="before")
    @classmethod
    def _split_secrets(cls, value: Any) -> Any:
        return _separated(value)

    @field_validator("stripe_webhook_secrets")
    @classmethod
    def _webhook_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        return webhook_secrets(value)

    @field_validator("stripe_api_key")
    @classmethod
    def _stripe_characters(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else key_of_ascii(value)

    @field_validator("scan_schedule")
    @classmethod
    def _some_time(cls, value: str) -> str:
        try:
            next(CronSim(value, datetime.now(UTC)))
        except CronSimError as error:
            raise ValueError(f"{error}: write a cron expression, such as 17 3 * * *") from None
        except StopIteration:
            raise ValueError("never comes: write a cron expression, such as 17 3 * * *") from None
        return value

    @property
    def events_poll_seconds(self) -> float:
        """Seconds between two polls of Stripe's events; 0 if the watch is off."""
        if self.stripe_events_poll_seconds is not None:
            return float(self.stripe_events_poll_seconds)
        return POLL_SECONDS_WITH_WEBHOOKS if self.stripe_webhook_secrets else POLL_SECONDS

    @property
    def mode(self) -> Mode | None:
        """The mode of the key, or None if there is no key with a known prefix."""
        key = "" if self.stripe_api_key is None else self.stripe_api_key.get_secret_value()
        return next((mode for prefix, mode in STRIPE_KEY_PREFIXES.items() if key.startswith(prefix)), None)

    @property
    def stripe_rate(self) -> float | None:
        """Requests to Stripe a second, over all workers and endpoints. None if it depends on an unknown mode."""
        return self.stripe_requests_per_second or (None if self.mode is None else STRIPE_DEFAULT_RATE[self.mode])


class Settings(Measures):
    """All the settings of the worker."""

    autumn_secret_key: SecretStr = _setting("AUTUMN_SECRET_KEY")
    """The key of Autumn: `am_sk_test_…` or `am_sk_live_…`. It decides the environment."""
    autumn_api_url: str = _setting("AUTUMN_API_URL", "https://api.useautumn.com")
    """The address of Autumn."""
    autumn_api_version: str = _setting("AUTUMN_API_VERSION", DEFAULT_VERSION)
    """The version of Autumn's API, sent with every call. Events need 2.1 or later, scans 2.3, billing details 2.5."""
    autumn_max_in_flight: int = _setting("AUTUMN_MAX_IN_FLIGHT", 6, ge=1, le=100)
    """Updates of Autumn at the same time, over all workers. Autumn locks up at 10 to 14."""
    stripe_api_key: SecretStr = _setting("STRIPE_API_KEY")
    """A secret or restricted key of Stripe, of the same mode as the key of Autumn."""
    stripe_api_base: str = _setting("STRIPE_API_BASE", "https://api.stripe.com")
    """The address of Stripe."""
    stripe_endpoint_requests_per_second: float = _setting("STRIPE_ENDPOINT_REQUESTS_PER_SECOND", 20.0, gt=0, le=10_000)
    """Requests a second to each endpoint of Stripe, over all workers. Stripe allows 25."""
    retry_for_seconds: float = _setting("RETRY_FOR", 86_400.0, ge=0, le=7 * 86_400)
    """Seconds for which a failing event is retried before it becomes a dead letter."""
    request_timeout_seconds: float = _setting("REQUEST_TIMEOUT", 30.0, gt=0, le=30)
    """Seconds for one call to a service, from its start to its end."""
    echo_check_seconds: float = _setting("ECHO_CHECK_SECONDS", 60.0, ge=0, le=480)
    """Seconds from a new name or e-mail, or a write of unknown fate, to the recheck. 0 turns rechecks off.

    A late Stripe webhook or an Autumn update that takes over 60 s may undo newer changes. The time must be less than
    the ten minutes for which older values are remembered (jobs.plan.recheck).
    """
    link_trust_seconds: float = _setting("LINK_TRUST_SECONDS", 900.0, ge=0, le=86_400)
    """Seconds from a fetch of both sides in which a sync may write without another one. 0: each sync fetches."""
    stripe_when_unlinked: Literal["create", "link-only", "report"] = _setting("STRIPE_WHEN_UNLINKED", "create")
    """For an unlinked customer: link our Stripe customer or create one, only link, or only report it."""
    stripe_when_unlinked_elsewhere: Literal["create", "report"] = _setting("STRIPE_WHEN_UNLINKED_ELSEWHERE", "report")
    """For an unlinked customer of other payment processors alone: as STRIPE_WHEN_UNLINKED says, or only report it."""
    stripe_when_gone: Literal["create", "link-only", "report"] = _setting("STRIPE_WHEN_GONE", "create")
    """The same for a customer whose Stripe customer is deleted or missing."""
    stripe_metadata_keys: Annotated[tuple[str, ...], NoDecode] = _setting("STRIPE_METADATA_KEYS", ())
    """Keys of Autumn's metadata to copy to Stripe, separated by commas."""
    autumn_when_missing: Literal["dead-letter", "create"] = _setting("AUTUMN_WHEN_MISSING", "dead-letter")
    """The outcome of an event for a customer that Autumn does not know: a dead letter, or a new customer."""
    receipts: Literal["mirror", "open", "recover"] = _setting("RECEIPTS", "mirror")
    """Copies the flag to Stripe, also sets the address of open payments, or also mails recent receipts."""
    receipts_recover_hours: float = _setting("RECEIPTS_RECOVER_HOURS", 24.0, gt=0, le=30 * 24)
    """With `recover`: hours since a payment succeeded in which its receipt is still mailed."""
    scan_share: float = _setting("SCAN_SHARE", 0.5, gt=0, le=1)
    """The part of each rate that a scan may use. Events keep the rest."""
    scan_max_changed: float = _setting("SCAN_MAX_CHANGED", 0.2, ge=0, le=1)
    """The part of all customers that a scan may change. A scan that finds more only reports."""
    scan_spool: str = _setting("SCAN_SPOOL", "")
    """The folder where a scan keeps both lists while it runs. Unset: a folder below the system's temporary one."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = _setting("PORT", None)
    """The port of health, `/metrics`, the operator's page, webhooks and events over HTTP. Unset: none is opened."""
    intake_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = _setting("INTAKE_TOKENS", ())
    """Tokens of apps that send events over HTTP, as `name:token`, separated by commas. Unset: no `/v1/events`."""
    operator_password: Annotated[SecretStr, Field(min_length=12)] | None = _setting("OPERATOR_PASSWORD", None)
    """The password of the operator's page. Unset: the page can only be read, at an address in the log."""
    notify_url: SecretStr | None = _setting("NOTIFY_URL", None)
    """The address to which a worker sends notifications about what needs a person. Unset: none are sent."""
    notify_secret: Annotated[SecretStr, Field(min_length=16)] | None = _setting("NOTIFY_SECRET", None)
    """The secret that signs notifications. Unset: they are not signed."""
    notify_format: Literal["json", "slack"] = _setting("NOTIFY_FORMAT", "json")
    """The format of notifications: `json` for programs, `slack` for an incoming webhook of Slack."""
    log_format: Literal["json", "console"] = _setting("LOG_FORMAT", "json")
    """The format of the log: `json` for machines, `console` for people."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting("LOG_LEVEL", "INFO")
    """The lowest level that is logged."""

    @field_validator("autumn_secret_key")
    @classmethod
    def _autumn_prefix(cls, value: SecretStr) -> SecretStr:
        mode_of(key_of_ascii(value), AUTUMN_KEY_PREFIXES)
        return value

    @field_validator("autumn_api_version")
    @classmethod
    def _version_characters(cls, value: str) -> str:
        if not PRINTABLE_ASCII.fullmatch(value):
            raise ValueError("contains white space or a character that is not ASCII: write it as 2.3.0")
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
            raise ValueError(f"is not a version of Autumn's API: write it as {DEFAULT_VERSION}")
        if not supports_events(value):
            raise ValueError(f"is older than 2.1: set {DEFAULT_VERSION} (events need 2.1 or later, scans 2.3)")
        return value

    @field_validator("autumn_api_url", "stripe_api_base")
    @classmethod
    def _http_address(cls, value: str) -> str:
        return service_address(value)

    @field_validator("notify_url")
    @classmethod
    def _receiver(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else receiver_address(value)

    @field_validator("intake_tokens")
    @classmethod
    def _intake_tokens(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        return intake_tokens(value)

    @field_validator("stripe_metadata_keys", "intake_tokens", mode="before")
    @classmethod
    def _split_lists(cls, value: Any) -> Any:
        return _separated(value)

    @field_validator("stripe_metadata_keys")
    @classmethod
    def _fitting_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            if has_control_characters(key):
                raise ValueError("a key contains a control character or broken UTF-8: remove it")
            if len(key) > METADATA_KEY_MAX or set(key) & set("[]"):
                raise ValueError(f"{key}: Stripe allows keys of at most {METADATA_KEY_MAX} characters, without [ and ]")
            if key.startswith("autumn_"):
                raise ValueError(f"{key}: remove it: keys that begin with autumn_ belong to Autumn and to this worker")
        if len(set(keys)) > METADATA_KEYS_FREE:
            raise ValueError(f"has {len(set(keys))} keys: at most {METADATA_KEYS_FREE} are allowed")
        return tuple(dict.fromkeys(keys))

    @model_validator(mode="after")
    def _one_mode(self) -> "Settings":
        autumn = mode_of(self.autumn_secret_key, AUTUMN_KEY_PREFIXES)
        if autumn != self.mode:
            raise ValueError(
                f"AUTUMN_SECRET_KEY is a {autumn} key and STRIPE_API_KEY is a {self.mode} key: use two of the same mode"
            )
        return self

    @property
    def mode(self) -> Mode:
        """The mode of both keys."""
        return mode_of(self.stripe_api_key, STRIPE_KEY_PREFIXES)

    @property
    def stripe_rate(self) -> float:
        """Requests to Stripe a second, over all workers and endpoints."""
        return self.stripe_requests_per_second or STRIPE_DEFAULT_RATE[self.mode]


def _separated(value: Any) -> Any:
    """Return the parts of a text that commas separate, without empty ones. Any other value is returned as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
