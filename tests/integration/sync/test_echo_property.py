"""The last value of each field stays, in any order of events, other writers, webhooks, crashes and lost answers.

A value counts if its write succeeded. In the end, each field has on both sides the last value that somebody wrote on
purpose. All other fields are unchanged. `echo_limits` lists the exceptions.
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test, initialize, rule
from redis.asyncio import Redis

from jobs.plan.recheck import KNOWN_SECONDS
from sandbox.faults import Fault, Kind
from sandbox.redis import EmbeddedRedis
from tests.support.echoes import limits
from tests.support.echoes.parts import LINKS, WHOLE, Planted, Syncing
from tests.support.echoes.truth import COPIED, FLAG, NOT_COPIED, PROFILE
from tests.support.echoes.world import RECHECK_SECONDS, SOON_SECONDS, SPARES, EchoWorld
from tests.support.edits import age_notes
from tests.support.examples import examples

EXAMPLES: Final = 30
STEPS: Final = 20

SHOWN = st.sampled_from(["same", "same", "stale", "none"])
PLANTED = st.builds(
    Planted,
    link=st.sampled_from(["linked", *LINKS]),
    has=st.tuples(st.sampled_from([True, True, False]), st.sampled_from([True, True, False])),
    shown=st.tuples(SHOWN, SHOWN),
)
PICKS = st.integers(0, 5)
WHO = st.integers(0, 1)
VALUE = st.sampled_from(["new", "new", "new", "null", "older"])
EVENT = st.dictionaries(st.sampled_from([*PROFILE, *PROFILE, FLAG, COPIED, NOT_COPIED]), VALUE, max_size=2)
OTHER_APP = st.dictionaries(
    st.sampled_from([*PROFILE, *PROFILE, FLAG, COPIED, NOT_COPIED]),
    st.sampled_from(["new", "new", "null"]),
    min_size=1,
    max_size=2,
)
KNOWN_EVENT = st.dictionaries(
    st.sampled_from([*PROFILE, *PROFILE, FLAG, COPIED, NOT_COPIED]),
    st.sampled_from(["new", "new", "older"]),
    min_size=1,
    max_size=2,
)
"""An event that may need no fetch."""
REQUESTS = st.integers(1, 10)
SYNCS: st.SearchStrategy[Syncing | None] = st.one_of(
    st.just(WHOLE),
    st.just(WHOLE),
    st.none(),
    st.builds(Syncing, dies_after=REQUESTS),
    st.builds(Syncing, webhook_at=REQUESTS, pick=PICKS),
)
"""None: no sync follows."""
FAULTS = st.builds(
    Fault,
    kind=st.sampled_from(list[Kind](["lost", "lost", "503"])),
    route=st.sampled_from(["customers.update", "customers.get", "POST /v1/customers", "GET /v1/customers"]),
    times=st.just(1),
)


class Machine(RuleBasedStateMachine):
    """Random events for one customer or two."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.run = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.stack, self.redis = AsyncExitStack(), Redis.from_url(url)

    @initialize(planted=st.lists(PLANTED, min_size=1, max_size=2), says_more=st.booleans(), twice=st.booleans())
    def plant(self, planted: list[Planted], says_more: bool, twice: bool) -> None:
        self.world = EchoWorld(self.redis)
        self.run.run(self.world.open(self.stack, planted, says_more=says_more, twice=twice))

    @rule(who=WHO, tokens=EVENT, pick=PICKS, how=SYNCS)
    def event_arrives(self, who: int, tokens: dict[str, str], pick: int, how: Syncing | None) -> None:
        customer = self._customer(who)
        self.run.run(self.world.event(customer, self._values(customer, tokens, pick)))
        self._sync(how)

    @rule(who=WHO, edited=st.sampled_from([None, "phone", *PROFILE]), tokens=KNOWN_EVENT, pick=PICKS, how=SYNCS)
    def event_arrives_right_after_a_fetch(
        self, who: int, edited: str | None, tokens: dict[str, str], pick: int, how: Syncing | None
    ) -> None:
        customer = self._customer(who)
        self.run.run(self.world.watch())
        self.run.run(self.world.event(customer, {}))
        self._sync(WHOLE)
        link = self.world.row(customer)["stripe_id"]
        if (
            edited is not None
            and link
            and limits.may_edit(self.world, customer)
            and limits.may_write(self.world, customer, link, [edited])
        ):
            self.run.run(self._edit(link, edited, self.world.new(edited)))
        self.run.run(self.world.event(customer, self._values(customer, tokens, pick)))
        self._sync(how)

    @rule(who=WHO, spare=st.integers(0, SPARES - 1), tokens=EVENT, pick=PICKS, how=SYNCS)
    def event_relinks(self, who: int, spare: int, tokens: dict[str, str], pick: int, how: Syncing | None) -> None:
        customer = self._customer(who)
        if limits.may_relink(self.world, customer):
            fields = {"stripe_id": f"cus_{customer}_{spare}", **self._values(customer, tokens, pick)}
            self.run.run(self.world.event(customer, fields))
        self._sync(how)

    @rule(who=WHO, tokens=OTHER_APP, pick=PICKS, how=SYNCS)
    def other_app_writes(self, who: int, tokens: dict[str, str], pick: int, how: Syncing | None) -> None:
        customer = self._customer(who)
        fields = self._values(customer, tokens, pick)
        chooses_again = FLAG in fields or None in fields.values()
        link = self.world.row(customer)["stripe_id"] or ""
        if limits.may_write(self.world, customer, link, list(fields)) and (
            not chooses_again or limits.may_choose_again(self.world)
        ):
            self.run.run(self.world.other_app(customer, fields))
        self._sync(how)

    @rule(
        who=WHO,
        spare=st.sampled_from([None, None, None, 0, 1]),
        field=st.sampled_from(PROFILE),
        empties=st.sampled_from([False, False, False, True]),
        seen=st.sampled_from(["not yet", "now", "now", "long ago"]),
        how=SYNCS,
    )
    def person_edits_stripe(
        self,
        who: int,
        spare: int | None,
        field: str,
        empties: bool,
        seen: str,
        how: Syncing | None,
    ) -> None:
        customer = self._customer(who)
        stripe_id = self.world.row(customer)["stripe_id"] if spare is None else f"cus_{customer}_{spare}"
        may_write = (
            stripe_id
            and limits.may_edit(self.world, customer)
            and limits.may_write(self.world, customer, stripe_id, [field])
        )
        if may_write and (not empties or limits.may_empty(self.world, stripe_id, field)):
            value = None if empties else self.world.new(field)
            self.run.run(self._edit(stripe_id, field, value))
            if seen != "not yet":
                self.run.run(self.world.watch())
            if seen == "long ago":
                self.run.run(age_notes(self.redis, customer))
        self._sync(how)

    async def _edit(self, stripe_id: str, field: str, value: str | None) -> None:
        self.world.person(stripe_id, field, value)

    @rule(picks=st.lists(PICKS, min_size=1, max_size=3), how=SYNCS)
    def webhooks_arrive(self, picks: list[int], how: Syncing | None) -> None:
        for pick in picks:
            self.run.run(self.world.deliver(pick))
        self._sync(how)

    @rule(how=SYNCS)
    def watch_polls(self, how: Syncing | None) -> None:
        self.run.run(self.world.watch())
        self._sync(how)

    @rule(seconds=st.sampled_from([*[SOON_SECONDS, RECHECK_SECONDS] * 3, KNOWN_SECONDS + 1]), how=SYNCS)
    def time_passes(self, seconds: float, how: Syncing | None) -> None:
        if seconds > KNOWN_SECONDS:
            self.run.run(self.world.calm())
        if limits.may_pass(self.world, seconds):
            self.run.run(self.world.time_passes(seconds))
        self._sync(how)

    @rule(in_autumn=st.booleans(), fault=FAULTS, how=SYNCS)
    def answer_is_lost(self, in_autumn: bool, fault: Fault, how: Syncing | None) -> None:
        self.world.lose(fault, in_autumn=in_autumn)
        self._sync(how)

    def _customer(self, who: int) -> str:
        return self.world.customers[who % len(self.world.customers)]

    def _values(self, customer: str, tokens: dict[str, str], pick: int) -> dict[str, Any]:
        used = self.world.truths[customer].used
        fields: dict[str, Any] = {}
        for name, token in tokens.items():
            if name == FLAG:
                fields[name] = token == "new"
            elif token == "older":
                fields[name] = used[name][pick % len(used[name])]
            else:
                fields[name] = None if token == "null" else self.world.new(name)
        return fields

    def _sync(self, how: Syncing | None) -> None:
        if how is not None:
            self.run.run(self.world.sync(how))

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None and hasattr(self, "world"):
                self.run.run(self.world.calm())
                self.run.run(self.world.stays_calm())
        finally:
            self.run.run(self.stack.aclose())
            self.run.run(self.redis.aclose())
            self.run.close()


def property_on(url: str, chosen: settings) -> Callable[[], None]:
    """Return a function that checks the property on the Redis at `url`."""
    return get_state_machine_test(cast(Any, partial(Machine, url)), settings=chosen)


@pytest.mark.timeout(600)  # Hypothesis shrinks a failing run before it shows it
def test_last_value_of_each_field_stays(redis_server: EmbeddedRedis) -> None:
    small = settings(
        max_examples=examples(EXAMPLES),
        stateful_step_count=STEPS,
        report_multiple_bugs=False,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    property_on(redis_server.url, small)()
