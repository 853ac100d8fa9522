"""Settings: missing and wrong ones are named, and no secret is shown."""

from pathlib import Path

import pytest

from config.loading import SettingsError, load_measures, load_place, load_scan_settings, load_settings
from config.settings import Settings
from tests.support.tls import self_signed

GOOD = {
    "REDIS_URL": "redis://:hunter2@localhost:6379/0",
    "AUTUMN_SECRET_KEY": "am_sk_test_verysecret",
    "STRIPE_API_KEY": "sk_test_alsosecret",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)


def test_three_settings_are_enough_and_the_rates_follow_the_mode() -> None:
    settings = load_settings(**GOOD)
    assert (settings.mode, settings.stripe_rate, settings.autumn_updates_per_second) == ("test", 20, 20)
    live = load_settings(**GOOD | {"AUTUMN_SECRET_KEY": "am_sk_live_x", "STRIPE_API_KEY": "rk_live_x"})
    assert (live.mode, live.stripe_rate) == ("live", 80)


def test_environment_and_env_file_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in GOOD.items()))
    monkeypatch.setenv("AUTUMN_UPDATES_PER_SECOND", "12.5")
    assert load_settings().autumn_updates_per_second == 12.5


def test_every_missing_variable_is_named_on_its_own_line() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    lines = str(refusal.value).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == sorted(GOOD)
    assert all(".env" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "rediss://localhost:6379/0?ssl_cert_reqs=none"),
        ("REDIS_URL", "rediss://localhost:6379/0?db=1&ssl_check_hostname=false"),
        ("REDIS_CERTIFICATE", "no certificate"),
        ("AUTUMN_SECRET_KEY", "sk_test_oops"),
        ("STRIPE_API_KEY", "pk_test_oops"),
        ("AUTUMN_SECRET_KEY", "am_sk_test_"),
        ("STRIPE_API_KEY", "rk_test_"),
        ("AUTUMN_API_URL", "https://api.useautumn.com?key=1"),
        ("STRIPE_API_BASE", "https://api.stripe.com/#v1"),
        ("AUTUMN_API_URL", "api.useautumn.com"),
        ("AUTUMN_API_URL", "http://api.useautumn.com"),
        ("AUTUMN_API_URL", "http://169.254.169.254"),
        ("STRIPE_API_BASE", "http://127.0.0.1@api.example.com"),
        ("STRIPE_API_BASE", "http://localhost.example.com"),
        ("STRIPE_API_BASE", "file:///etc/passwd"),
        ("STRIPE_API_BASE", "https:///v1"),
        ("STRIPE_API_BASE", "https://api.stripe.com:https"),
        ("AUTUMN_API_URL", "https://[::g]"),
        ("AUTUMN_UPDATES_PER_SECOND", "-7"),
        ("AUTUMN_MAX_IN_FLIGHT", "many"),
        ("STRIPE_REQUESTS_PER_SECOND", "-7"),
        ("RETRY_FOR", "-5"),
        ("KEY_PREFIX", "a b"),
        ("PORT", "http"),
        ("PORT", "70000"),
        ("OPERATOR_PASSWORD", "elevenchars"),
        ("STRIPE_WHEN_UNLINKED", "yes please"),
        ("STRIPE_WHEN_GONE", "recreate"),
        ("STRIPE_WHEN_UNLINKED_ELSEWHERE", "link-only"),
        ("AUTUMN_WHEN_MISSING", "invent"),
        ("RECEIPTS", "on"),
        ("STRIPE_EVENTS_POLL_SECONDS", "-1"),
        ("STRIPE_EVENTS_POLL_SECONDS", "3601"),
        ("STRIPE_EVENTS_POLL_SECONDS", "1.5"),
        ("STRIPE_WEBHOOK_SECRETS", "sk_test_oops"),
        ("RECEIPTS_RECOVER_HOURS", "-7"),
        ("LOG_LEVEL", "LOUD"),
        ("NOTIFY_URL", "http://hooks.example.com/a-token"),
        ("NOTIFY_URL", "https://user:word@hooks.example.com"),
        ("NOTIFY_URL", "https://hooks.example.com/?token=a b"),
        ("NOTIFY_URL", "https://hooks.example.com/?token=a#b"),
        ("NOTIFY_URL", "hooks.example.com?https://"),
        ("NOTIFY_SECRET", "too-short"),
        ("NOTIFY_FORMAT", "xml"),
    ],
)
def test_wrong_value_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {name: value})
    assert str(refusal.value).startswith(f"{name}")
    assert value not in str(refusal.value)


@pytest.mark.parametrize("inside", [" ", "\t", "\n", "\r\n", "\x7f", "\u2026", "\xa0", "\udc85"], ids=ascii)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTUMN_SECRET_KEY", "am_sk_test_very{}secret"),
        ("STRIPE_API_KEY", "sk_test_also{}secret"),
        ("REDIS_URL", "redis://:hunter{}2@localhost:6379/0"),
        ("AUTUMN_API_URL", "https://api.use{}autumn.com"),
        ("STRIPE_API_BASE", "https://api.{}stripe.com"),
        ("AUTUMN_API_VERSION", "2.{}3.0"),
        ("REDIS_CERTIFICATE", "{}-----BEGIN CERTIFICATE-----"),
    ],
)
def test_character_invalid_in_keys_and_urls_is_refused(name: str, value: str, inside: str) -> None:
    whole = value.format(inside)
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"REDIS_URL": "rediss://localhost:6379/0", name: whole})
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert not any(
        part in line for part in ("very", "also", "hunter", "use", "stripe", "BEGIN", inside.strip() or "\n")
    )


@pytest.mark.parametrize("inside", ["\n", "\x00", "\x7f", "\udc85"], ids=ascii)
@pytest.mark.parametrize(
    "name", ["OPERATOR_PASSWORD", "INBOX_STREAM", "KEY_PREFIX", "SCAN_SPOOL", "SCAN_SCHEDULE", "STRIPE_METADATA_KEYS"]
)
def test_no_setting_holds_a_control_character(name: str, inside: str) -> None:
    if (name, inside) == ("STRIPE_METADATA_KEYS", "\n"):
        assert load_settings(**GOOD | {name: "plan,\nseats"}).stripe_metadata_keys == ("plan", "seats")
        return
    with pytest.raises(SettingsError, match=rf"^{name}: ") as refusal:
        load_settings(**GOOD | {name: f"correct horse {inside} battery"})
    assert "horse" not in str(refusal.value)


@pytest.mark.parametrize(("before", "after"), [("", "\n"), ("", "\r\n"), (" \t", " ")], ids=ascii)
def test_white_space_around_a_setting_is_stripped(before: str, after: str, certificate: str) -> None:
    values = GOOD | {
        "REDIS_URL": "rediss://:hunter2@localhost:6379/0",
        "REDIS_CERTIFICATE": certificate.strip(),
        "AUTUMN_API_URL": "https://autumn.example",
        "STRIPE_API_BASE": "https://stripe.example",
        "AUTUMN_API_VERSION": "2.3.0",
        "OPERATOR_PASSWORD": "correct horse battery",
        "INBOX_STREAM": "inbox",
        "PORT": "8080",
        "RECEIPTS": "open",
        "LOG_LEVEL": "DEBUG",
    }
    assert load_settings(**{name: f"{before}{value}{after}" for name, value in values.items()}) == load_settings(
        **values
    )


@pytest.mark.parametrize("empty", ["", " ", "\n"], ids=ascii)
@pytest.mark.parametrize(
    "name",
    [str(field.validation_alias.choices[0]) for field in Settings.model_fields.values()],  # type: ignore[union-attr]  # all have one
)
def test_empty_setting_counts_as_not_set(name: str, empty: str) -> None:
    if name not in GOOD:
        assert load_settings(**GOOD | {name: empty}) == load_settings(**GOOD)
        return
    with pytest.raises(SettingsError, match=rf"^{name}: is not set; "):
        load_settings(**GOOD | {name: empty})


def test_empty_variable_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in (GOOD | {"PORT": "8080"}).items()))
    monkeypatch.setenv("PORT", "")
    assert load_settings().port is None


def test_every_reader_of_settings_reads_them_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost\n")
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_x\n")
    assert load_place().redis_url.get_secret_value() == "redis://localhost"
    assert (load_measures().mode, load_measures().redis_url) == ("live", load_place().redis_url)
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_\u2026")
    with pytest.raises(SettingsError, match=r"^STRIPE_API_KEY: "):
        load_measures()
    monkeypatch.setenv("REDIS_URL", "redis://local host")
    for load in (load_place, load_measures):
        with pytest.raises(SettingsError, match=r"^REDIS_URL: "):
            load()


def test_binary_env_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"AUTUMN_SECRET_KEY=am_sk_test_\x85\n")
    with pytest.raises(SettingsError, match=r"^\.env: is not UTF-8 text"):
        load_settings(**GOOD)


def test_password_may_hold_blanks_and_any_character() -> None:
    password = load_settings(**GOOD | {"OPERATOR_PASSWORD": " grün: correct horse \n"}).operator_password
    assert password is not None
    assert password.get_secret_value() == "grün: correct horse"


@pytest.mark.parametrize(
    "address", ["https://10.0.0.7:8443/hook?token=a-token", "http://localhost:9000", "http://[::1]/hook"]
)
def test_receiver_may_be_private_and_is_not_shown(address: str) -> None:
    settings = load_settings(**GOOD | {"NOTIFY_URL": address, "NOTIFY_SECRET": "correct horse battery"})
    assert settings.notify_url is not None
    assert settings.notify_url.get_secret_value() == address
    assert not any(secret in repr(settings) for secret in (address, "battery"))


def test_short_password_is_named_as_too_short() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"OPERATOR_PASSWORD": "elevenchars"})
    assert str(refusal.value) == "OPERATOR_PASSWORD: must have at least 12 characters"


def test_metadata_keys_are_comma_separated_and_unique() -> None:
    assert load_settings(**GOOD | {"STRIPE_METADATA_KEYS": "plan, seats,,plan"}).stripe_metadata_keys == (
        "plan",
        "seats",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plan,autumn_id", "autumn_id: remove it: keys that begin with autumn_"),
        (f"plan,{'k' * 41}", "keys of at most 40 characters"),
        ("a[b]", "without [ and ]"),
        (",".join(f"k{index}" for index in range(49)), "49 keys"),
    ],
)
def test_metadata_key_that_stripe_refuses_is_named(value: str, text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"STRIPE_METADATA_KEYS": value})
    assert str(refusal.value).startswith("STRIPE_METADATA_KEYS: ")
    assert text in str(refusal.value)


WEBHOOKS = {"STRIPE_WEBHOOK_SECRETS": "whsec_one, whsec_two,,whsec_one"}


def test_webhook_secrets_are_comma_separated_and_unique() -> None:
    secrets = load_settings(**GOOD | WEBHOOKS).stripe_webhook_secrets
    assert [secret.get_secret_value() for secret in secrets] == ["whsec_one", "whsec_two"]
    assert load_settings(**GOOD).stripe_webhook_secrets == ()


@pytest.mark.parametrize("bad", ["sk_test_hidden", "whsec_", "whsec_hid\u00e4den", "whsec_hid den", "whsec_hid\x00den"])
def test_malformed_webhook_secret_is_named_by_its_number(bad: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"STRIPE_WEBHOOK_SECRETS": f"whsec_one,{bad}"})
    (line,) = str(refusal.value).splitlines()
    assert line.startswith("STRIPE_WEBHOOK_SECRETS: secret 2 ")
    assert not any(part in line for part in ("one", "hid", "den"))


TOKENS = {"INTAKE_TOKENS": "shop:0123456789abcdef0123, shop:hidden-hidden-hidden,,crm:a:b:c:hidden-hidden-hid"}


def test_intake_tokens_are_comma_separated_and_a_name_has_several() -> None:
    entries = load_settings(**GOOD | TOKENS).intake_tokens
    assert [entry.get_secret_value().partition(":")[0] for entry in entries] == ["shop", "shop", "crm"]
    assert load_settings(**GOOD).intake_tokens == ()


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("hidden-hidden-hidden-hidden", "entry 2 has no colon: "),
        ("crm:hidden", "entry 2 (crm) needs a token of 20 characters or more"),
        ("crm:", "entry 2 (crm) needs a token"),
        (":hidden-hidden-hidden-hidden", "entry 2 needs a name "),
        ("the crm:hidden-hidden-hidden-hidden", "entry 2 needs a name "),
        ("hidden-hidden-hidden-hidden:crm", "entry 2 needs a token"),
        ("crm:hidden-hid\u00e4den-hidden-hidden", "entry 2 (crm) contains white space or a character"),
        ("crm:hidden-hidden hidden-hidden", "entry 2 (crm) contains white space or a character"),
        ("crm:hidden-hidden\nhidden-hidden", "entry 2 (crm) contains white space or a character"),
        ("crm:0123456789abcdef0123", "entry 2 (crm) has the token of an earlier entry"),
    ],
)
def test_malformed_intake_token_is_named_and_not_shown(bad: str, text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"INTAKE_TOKENS": f"shop:0123456789abcdef0123,{bad}"})
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"INTAKE_TOKENS: {text}")
    assert not any(part in line for part in ("hid", "den", "0123"))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 60.0),
        (WEBHOOKS, 300.0),
        ({"STRIPE_EVENTS_POLL_SECONDS": "0"}, 0.0),
        (WEBHOOKS | {"STRIPE_EVENTS_POLL_SECONDS": "15"}, 15.0),
    ],
)
def test_pause_between_polls_depends_on_webhooks(
    given: dict[str, str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(**GOOD | given).events_poll_seconds == seconds
    for name, value in ({"REDIS_URL": GOOD["REDIS_URL"]} | given).items():
        monkeypatch.setenv(name, value)
    assert load_measures().events_poll_seconds == seconds


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8080", "http://localhost:1/", "http://[::1]:1", "https://a.example"]
)
def test_service_url_is_https_or_local(address: str) -> None:
    settings = load_settings(**GOOD | {"AUTUMN_API_URL": address, "STRIPE_API_BASE": address})
    assert settings.autumn_api_url == settings.stripe_api_base == address.rstrip("/")


def test_keys_of_two_modes_are_refused() -> None:
    with pytest.raises(SettingsError, match="same mode"):
        load_settings(**GOOD | {"STRIPE_API_KEY": "sk_live_x"})


def test_no_secret_is_shown() -> None:
    settings = load_settings(**GOOD | WEBHOOKS | TOKENS)
    shown = repr(settings) + str(settings)
    assert not any(secret in shown for secret in ("hunter2", "verysecret", "alsosecret", "whsec_", "hidden", "0123"))


def test_certificate_requires_tls(certificate: str) -> None:
    secure = GOOD | {"REDIS_URL": "rediss://localhost:6379/0", "REDIS_CERTIFICATE": certificate}
    assert load_settings(**secure).redis_certificate == certificate.strip()
    with pytest.raises(SettingsError, match="REDIS_CERTIFICATE: needs a REDIS_URL"):
        load_settings(**secure | {"REDIS_URL": GOOD["REDIS_URL"]})


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    return self_signed(tmp_path, "redis", host="redis").pem


@pytest.mark.parametrize("version", ["2.1", "2.1.0", "2.2.0", "2026-03-17", "2026-05-12"])
def test_version_before_cursors_supports_events_only(version: str) -> None:
    older = GOOD | {"AUTUMN_API_VERSION": version}
    assert load_settings(**older).autumn_api_version == version
    with pytest.raises(SettingsError) as refusal:
        load_scan_settings(**older)
    assert str(refusal.value) == (
        f"AUTUMN_API_VERSION: {version} has no lists with cursors, which a scan needs: set 2.3.0"
    )


@pytest.mark.parametrize(
    "version", ["2.3", "2.3.0", "2.4.0", "2.5", "2.10.0", "3", "3.0.1", "2026-05-13", "2027-01-01"]
)
def test_version_with_cursors_supports_scans(version: str) -> None:
    assert load_scan_settings(**GOOD | {"AUTUMN_API_VERSION": version}).autumn_api_version == version


def test_default_version_supports_scans() -> None:
    assert load_scan_settings(**GOOD).autumn_api_version == "2.3.0"


@pytest.mark.parametrize("version", ["2", "2.0", "2.0.9", "1.4", "0.2", "2026-03-16", "2025-05-05"])
def test_version_with_other_answers_is_refused_with_remedy(version: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"AUTUMN_API_VERSION": version})
    assert str(refusal.value) == (
        "AUTUMN_API_VERSION: is older than 2.1: set 2.3.0 (events need 2.1 or later, scans 2.3)"
    )


@pytest.mark.parametrize("version", ["latest", "v2.3", "2.x", "2.3.0.1", "am_sk_test_verysecret", "2026-5-13"])
def test_invalid_version_is_refused_and_not_shown(version: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"AUTUMN_API_VERSION": version})
    assert str(refusal.value) == "AUTUMN_API_VERSION: is not a version of Autumn's API: write it as 2.3.0"
