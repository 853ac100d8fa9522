"""The description of an unexpected error: its type and its frames in our code, and no value."""

import json
from collections.abc import Callable

import pytest

from config.loading import SettingsError, load_settings
from jobs.errors import describe
from jobs.events import new_update
from jobs.queue.record import as_text

PRIVATE = "ann@example.com"


def raised_by(act: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any is described
        act()
    return raised.value


def test_error_is_described_by_type_and_our_frame() -> None:
    text = describe(raised_by(lambda: as_text({PRIVATE: b""})))  # type: ignore[dict-item]  # on purpose
    place, *callers = text.removeprefix("AttributeError at ").split(" < ")
    assert place.startswith("jobs/queue/record.py:")
    assert place.endswith((" as_text", " <dictcomp>"))
    assert all(caller.startswith("jobs/queue/record.py:") for caller in callers)


def test_library_frames_are_omitted_if_ours_exist() -> None:
    text = describe(raised_by(lambda: new_update(customer_id="ann", changes={"name": object()})))
    assert "autumn_sync_client/events.py:" in text
    assert "pydantic" not in text


def test_error_of_a_library_shows_last_folder_and_file() -> None:
    text = describe(raised_by(lambda: json.loads(f'{{"email": "{PRIVATE}"')))
    assert text.startswith("JSONDecodeError at json/decoder.py:")
    assert PRIVATE not in text


def test_unraised_error_is_described_by_its_type() -> None:
    assert describe(ValueError(PRIVATE)) == "ValueError"


def test_cause_of_an_error_is_described_with_it() -> None:
    def act() -> None:
        try:
            as_text({PRIVATE: b""})  # type: ignore[dict-item]  # on purpose
        except AttributeError as error:
            raise LookupError(PRIVATE) from error

    text = describe(raised_by(act))
    assert text.startswith("LookupError at unit/test_describe.py:")
    assert "; from AttributeError at jobs/queue/record.py:" in text
    assert PRIVATE not in text


def test_cause_that_is_hidden_on_purpose_stays_hidden() -> None:
    error = raised_by(lambda: load_settings(REDIS_URL=PRIVATE))
    assert isinstance(error, SettingsError)
    assert describe(error).startswith("SettingsError at config/loading.py:")
    assert "ValidationError" not in describe(error)


def test_each_error_of_a_group_is_described() -> None:
    errors = [raised_by(lambda: as_text({PRIVATE: b""})), KeyError(PRIVATE)]  # type: ignore[dict-item]  # on purpose
    text = describe(ExceptionGroup(PRIVATE, [ExceptionGroup(PRIVATE, errors), ValueError(PRIVATE)]))
    assert text.startswith("ExceptionGroup [ExceptionGroup [AttributeError at jobs/queue/record.py:")
    assert text.endswith(" | KeyError] | ValueError]")
    assert PRIVATE not in text


def test_description_stays_short() -> None:
    error: Exception = ValueError(PRIVATE)
    for _ in range(50):
        error = ExceptionGroup(PRIVATE, [error, *(KeyError(PRIVATE) for _ in range(50))])
        error.__cause__ = error
    assert len(describe(error)) <= 1000
