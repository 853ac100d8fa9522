"""Settings: what is missing or wrong is said by its name, and no secret is ever shown."""

from pathlib import Path

import pytest

from config.settings import SettingsError, load_scan_settings, load_settings
from tests.tls import self_signed

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


def test_the_environment_and_a_env_file_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in GOOD.items()))
    monkeypatch.setenv("AUTUMN_UPDATES_PER_SECOND", "12.5")
    assert load_settings().autumn_updates_per_second == 12.5


def test_every_missing_variable_is_named_in_a_line_of_its_own() -> None:
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
        ("REDIS_CERTIFICATE", "not a certificate"),
        ("AUTUMN_SECRET_KEY", "sk_test_oops"),
        ("STRIPE_API_KEY", "pk_test_oops"),
        ("AUTUMN_API_URL", "api.useautumn.com"),
        ("AUTUMN_API_URL", "http://api.useautumn.com"),
        ("AUTUMN_API_URL", "http://169.254.169.254"),
        ("STRIPE_API_BASE", "http://127.0.0.1@api.example.com"),
        ("STRIPE_API_BASE", "http://localhost.example.com"),
        ("STRIPE_API_BASE", "file:///etc/passwd"),
        ("STRIPE_API_BASE", "https:///v1"),
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
        ("AUTUMN_WHEN_MISSING", "invent"),
        ("RECEIPTS", "on"),
        ("RECEIPTS_RECOVER_HOURS", "-7"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {name: value})
    assert str(refusal.value).startswith(f"{name}")
    assert value not in str(refusal.value)


def test_a_short_password_is_said_to_be_short() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"OPERATOR_PASSWORD": "elevenchars"})
    assert str(refusal.value) == "OPERATOR_PASSWORD: has to have 12 characters at least"


def test_metadata_keys_are_parted_by_commas_and_each_once() -> None:
    assert load_settings(**GOOD | {"STRIPE_METADATA_KEYS": "plan, seats,,plan"}).stripe_metadata_keys == (
        "plan",
        "seats",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plan,autumn_id", "autumn_id: keys that begin with autumn_"),
        (f"plan,{'k' * 41}", "keys of 40 characters"),
        ("a[b]", "without [ and ]"),
        (",".join(f"k{index}" for index in range(49)), "49 keys"),
    ],
)
def test_a_metadata_key_that_stripe_would_not_take_is_named(value: str, text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"STRIPE_METADATA_KEYS": value})
    assert str(refusal.value).startswith("STRIPE_METADATA_KEYS: ")
    assert text in str(refusal.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8080", "http://localhost:1/", "http://[::1]:1", "https://a.example"]
)
def test_a_service_is_reached_by_https_or_on_this_machine(address: str) -> None:
    settings = load_settings(**GOOD | {"AUTUMN_API_URL": address, "STRIPE_API_BASE": address})
    assert settings.autumn_api_url == settings.stripe_api_base == address.rstrip("/")


def test_keys_of_two_modes_are_refused() -> None:
    with pytest.raises(SettingsError, match="same mode"):
        load_settings(**GOOD | {"STRIPE_API_KEY": "sk_live_x"})


def test_no_secret_shows() -> None:
    shown = repr(load_settings(**GOOD)) + str(load_settings(**GOOD))
    assert not any(secret in shown for secret in ("hunter2", "verysecret", "alsosecret"))


def test_a_certificate_goes_with_tls_only(certificate: str) -> None:
    secure = GOOD | {"REDIS_URL": "rediss://localhost:6379/0", "REDIS_CERTIFICATE": certificate}
    assert load_settings(**secure).redis_certificate == certificate
    with pytest.raises(SettingsError, match="REDIS_CERTIFICATE: is of use only where"):
        load_settings(**secure | {"REDIS_URL": GOOD["REDIS_URL"]})


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    return self_signed(tmp_path, "redis", host="redis").pem


@pytest.mark.parametrize("version", ["2.1", "2.1.0", "2.2.0", "2026-03-17", "2026-05-12"])
def test_version_before_cursors_is_for_events_alone(version: str) -> None:
    older = GOOD | {"AUTUMN_API_VERSION": version}
    assert load_settings(**older).autumn_api_version == version
    with pytest.raises(SettingsError) as refusal:
        load_scan_settings(**older)
    assert str(refusal.value) == (
        f"AUTUMN_API_VERSION: a scan reads lists by cursor, and {version} has none: set 2.3.0"
    )


@pytest.mark.parametrize(
    "version", ["2.3", "2.3.0", "2.4.0", "2.5", "2.10.0", "3", "3.0.1", "2026-05-13", "2027-01-01"]
)
def test_version_with_cursors_is_for_scans_too(version: str) -> None:
    assert load_scan_settings(**GOOD | {"AUTUMN_API_VERSION": version}).autumn_api_version == version


def test_default_version_is_for_scans_too() -> None:
    assert load_scan_settings(**GOOD).autumn_api_version == "2.3.0"


@pytest.mark.parametrize("version", ["2", "2.0", "2.0.9", "1.4", "0.2", "2026-03-16", "2025-05-05"])
def test_version_that_answers_in_another_form_is_refused_with_what_to_set(version: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"AUTUMN_API_VERSION": version})
    assert str(refusal.value) == (
        "AUTUMN_API_VERSION: is older than 2.1: set 2.3.0 (events need 2.1 or later, scans 2.3)"
    )


@pytest.mark.parametrize(
    "version", ["", "latest", "v2.3", "2.x", "2.3.0.1", "2.3 ", "am_sk_test_verysecret", "2026-5-13"]
)
def test_text_that_is_no_version_is_refused_and_not_shown(version: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(**GOOD | {"AUTUMN_API_VERSION": version})
    assert str(refusal.value) == "AUTUMN_API_VERSION: is not a version of Autumn's API, such as 2.3.0"
