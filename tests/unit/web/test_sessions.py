"""Sessions and tokens: what is ours is known again, and nothing else is."""

import secrets
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.web.sessions import GUEST, OPERATOR, READER, Session, Sessions

KEY = secrets.token_bytes(32)
SESSIONS = Sessions(KEY)


def test_a_session_is_known_again_by_any_worker_with_the_same_key() -> None:
    session = SESSIONS.begin(OPERATOR)
    assert Sessions(KEY).read(SESSIONS.cookie(session)) == session
    assert session.is_operator


def test_another_key_ends_every_session() -> None:
    assert Sessions(secrets.token_bytes(32)).read(SESSIONS.cookie(SESSIONS.begin(OPERATOR))) is None


def test_a_session_ends() -> None:
    over = Session(OPERATOR, 1, "id")
    assert SESSIONS.read(SESSIONS.cookie(over)) is None


def test_a_reader_reads_and_a_guest_does_not() -> None:
    assert [SESSIONS.begin(role).is_reader for role in (OPERATOR, READER, GUEST)] == [True, True, False]
    assert not SESSIONS.begin(READER).is_operator


def test_a_guest_cannot_become_an_operator() -> None:
    guest, operator = SESSIONS.cookie(SESSIONS.begin(GUEST)), SESSIONS.cookie(SESSIONS.begin(OPERATOR))
    said, _, _ = operator.rpartition(".")
    assert SESSIONS.read(f"{said}.{guest.rpartition('.')[2]}") is None


def test_a_token_is_of_one_session_and_is_not_its_cookies_signature() -> None:
    one, other = SESSIONS.begin(OPERATOR), SESSIONS.begin(OPERATOR)
    assert SESSIONS.is_token(one, SESSIONS.token(one))
    assert not SESSIONS.is_token(other, SESSIONS.token(one))
    assert not SESSIONS.cookie(one).endswith(SESSIONS.token(one))


def test_a_new_session_has_nothing_of_the_one_before() -> None:
    assert SESSIONS.begin(GUEST).id != SESSIONS.begin(GUEST).id


def test_a_cookie_that_is_not_ours_is_never_unpacked() -> None:
    packed = zlib.compress(bytes(1 << 20))
    assert SESSIONS.read(f".{packed.hex()}.signature") is None


@settings(deadline=None)
@given(st.text(st.characters(categories=None)))
def test_what_is_not_ours_is_refused_whatever_it_is(text: str) -> None:
    assert SESSIONS.read(text) is None
    assert not SESSIONS.is_token(SESSIONS.begin(GUEST), text)
