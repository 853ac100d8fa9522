"""Sessions, tokens and the password: what is ours is known again, and nothing else is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.sessions import GUEST, OPERATOR, Session, Sessions

PASSWORD = "correct horse battery"
SESSIONS = Sessions(PASSWORD)


def test_a_session_is_known_again_by_any_worker_with_the_same_password() -> None:
    session = SESSIONS.begin(OPERATOR)
    assert Sessions(PASSWORD).read(SESSIONS.cookie(session)) == session
    assert session.is_operator


def test_another_password_ends_every_session() -> None:
    assert Sessions("another password").read(SESSIONS.cookie(SESSIONS.begin(OPERATOR))) is None


def test_without_a_password_each_process_has_a_key_of_its_own_and_nobody_gets_in() -> None:
    nobody = Sessions(None)
    assert Sessions(None).read(nobody.cookie(nobody.begin(GUEST))) is None
    assert not nobody.is_password("")


def test_a_session_ends() -> None:
    over = Session(OPERATOR, 1, "id")
    assert SESSIONS.read(SESSIONS.cookie(over)) is None


def test_a_guest_cannot_make_himself_an_operator() -> None:
    cookie = SESSIONS.cookie(SESSIONS.begin(GUEST))
    assert SESSIONS.read(cookie.replace(GUEST, OPERATOR)) is None


def test_a_token_is_of_one_session_and_is_not_its_cookies_signature() -> None:
    one, other = SESSIONS.begin(OPERATOR), SESSIONS.begin(OPERATOR)
    assert SESSIONS.is_token(one, SESSIONS.token(one))
    assert not SESSIONS.is_token(other, SESSIONS.token(one))
    assert not SESSIONS.cookie(one).endswith(SESSIONS.token(one))


def test_a_new_session_has_nothing_of_the_one_before() -> None:
    assert SESSIONS.begin(GUEST).id != SESSIONS.begin(GUEST).id


@settings(deadline=None)
@given(st.text(st.characters(categories=None)))
def test_what_is_not_ours_is_refused_whatever_it_is(text: str) -> None:
    assert SESSIONS.read(text) is None
    assert not SESSIONS.is_token(SESSIONS.begin(GUEST), text)
    assert not SESSIONS.is_password(text)


@pytest.mark.parametrize(("given", "is_right"), [(PASSWORD, True), (PASSWORD.upper(), False), ("", False)])
def test_only_the_password_is_the_password(given: str, is_right: bool) -> None:
    assert SESSIONS.is_password(given) is is_right
