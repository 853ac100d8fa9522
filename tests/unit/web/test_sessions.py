"""Sessions and tokens: our own are accepted, and nothing else."""

import secrets
import zlib

from hypothesis import given
from hypothesis import strategies as st

from worker.web.sessions import GUEST, OPERATOR, READER, Session, Sessions

KEY = secrets.token_bytes(32)
SESSIONS = Sessions(KEY)


def test_session_is_valid_on_any_worker_with_the_key() -> None:
    session = SESSIONS.begin(OPERATOR)
    assert Sessions(KEY).read(SESSIONS.cookie(session)) == session
    assert session.is_operator


def test_another_key_ends_every_session() -> None:
    assert Sessions(secrets.token_bytes(32)).read(SESSIONS.cookie(SESSIONS.begin(OPERATOR))) is None


def test_session_expires() -> None:
    over = Session(OPERATOR, 1, "id")
    assert SESSIONS.read(SESSIONS.cookie(over)) is None


def test_reader_reads_and_a_guest_does_not() -> None:
    assert [SESSIONS.begin(role).is_reader for role in (OPERATOR, READER, GUEST)] == [True, True, False]
    assert not SESSIONS.begin(READER).is_operator


def test_guest_cannot_become_an_operator() -> None:
    guest, operator = SESSIONS.cookie(SESSIONS.begin(GUEST)), SESSIONS.cookie(SESSIONS.begin(OPERATOR))
    said, _, _ = operator.rpartition(".")
    assert SESSIONS.read(f"{said}.{guest.rpartition('.')[2]}") is None


def test_form_token_belongs_to_one_session() -> None:
    one, other = SESSIONS.begin(OPERATOR), SESSIONS.begin(OPERATOR)
    assert SESSIONS.is_token(one, SESSIONS.token(one))
    assert not SESSIONS.is_token(other, SESSIONS.token(one))
    assert not SESSIONS.cookie(one).endswith(SESSIONS.token(one))


def test_new_session_shares_nothing_with_the_old_one() -> None:
    assert SESSIONS.begin(GUEST).id != SESSIONS.begin(GUEST).id


def test_foreign_cookie_is_never_decoded() -> None:
    packed = zlib.compress(bytes(1 << 20))
    assert SESSIONS.read(f".{packed.hex()}.signature") is None


@given(st.text(st.characters(categories=None)))
def test_foreign_cookie_is_refused(text: str) -> None:
    assert SESSIONS.read(text) is None
    assert not SESSIONS.is_token(SESSIONS.begin(GUEST), text)
