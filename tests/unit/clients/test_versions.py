"""Versions of Autumn's API: which texts are versions, and how they compare."""

import pytest

from autumn_sync_client.versions import Version, is_since, is_version
from config.autumn_versions import SCANS_SINCE, supports_scans
from jobs.autumn.versions import SINCE, unsupported_fields

IN_ORDER = [
    *("1.9", "2025-05-05", "2026-03-16"),
    *("2.1", "2.1.9", "2026-03-17", "2.2", "2026-05-12"),
    *("2.3", "2026-05-13", "2027-01-01", "2.4.0", "2.10", "3", "3.0.1"),
]
"""Versions from the oldest to the newest, as far as their dates are known."""


@pytest.mark.parametrize("text", IN_ORDER)
def test_number_or_date_is_a_version(text: str) -> None:
    assert is_version(text)


@pytest.mark.parametrize("text", ["", "latest", "v2.3", "2.x", "2.3.0.1", "2026-5-13", "2.3\n", "٢.٣", "12345"])
def test_other_text_is_no_version_and_since_nothing(text: str) -> None:
    assert not is_version(text)
    assert not is_since(text, Version(0, 0))


@pytest.mark.parametrize(("first", "since"), [(Version(2, 1), 3), (Version(2, 3), 8), (Version(2, 4), 11)])
def test_later_numbers_and_dates_are_since_a_version(first: Version, since: int) -> None:
    assert [text for text in IN_ORDER if is_since(text, first)] == IN_ORDER[since:]


@pytest.mark.parametrize("text", IN_ORDER)
def test_settings_and_sync_compare_versions_alike(text: str) -> None:
    assert SINCE["currency"] == SCANS_SINCE, "both begin with the same version"
    assert supports_scans(text) == (unsupported_fields({"currency": "eur"}, text) == ())
