"""Strategies for the accounts: planted customers, apps' changes, people's edits in Stripe, and faults.

Values only. Ids are words, so a failing example is easy to read.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import strategies as st

from jobs.plan.policy import Policy
from sandbox.faults import Fault, Kind

NAMES = ("ann", "bob")
STRANGERS = ("cus_stranger", "cus_zed")
"""Two Stripe customers of others: one that has no owner but an address of ours, and one of an unknown Autumn
customer."""
NOWHERE = "cus_nowhere"
STRIPE_IDS = tuple(f"cus_{name}{more}" for name in NAMES for more in ("", "_1", "_2"))
APPS_ADDRESS = "app@example.com"
MIRROR = "autumn_send_email_receipts"
MARK = "autumn_receipt_email"
MOST_KEYS = 50

Syncing = Literal["whole", "later"] | int
"""Whether a sync follows. A number: its worker dies after that number of requests."""
Arriving = Literal["at once", "later"]
"""The arrival of Stripe's webhooks at Autumn: before the next request, or when they are drawn, in any order."""
Link = Literal["linked", "unclaimed", "unlinked", "deleted", "never known", "shared", "foreign"]
LINKS: tuple[Link, ...] = ("linked", "unclaimed", "unlinked", "deleted", "never known", "shared", "foreign")
STATUSES = (
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "requires_capture",
    "processing",
    "canceled",
    "succeeded",
)


@dataclass(frozen=True)
class Payment:
    """A payment intent of a Stripe customer. `keys` is how many keys its metadata already has."""

    status: str = STATUSES[0]
    address: str | None = None
    keys: int = 0
    is_old: bool = False


@dataclass(frozen=True)
class Account:
    """A customer of Autumn and its data in Stripe. `keys`: the number of the linked one's metadata keys, 50 at most."""

    link: Link = "linked"
    ours: int = 0
    """The number of other Stripe customers that carry its id."""
    name: str | None = None
    email: str | None = None
    flag: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    stripe_name: str | None = None
    stripe_email: str | None = None
    keys: int = 0
    payments: tuple[Payment, ...] = ()


NAME = st.sampled_from(["Ann", "Bea", None])
EMAIL = st.sampled_from(["ann@example.com", "ann@example.com", "bea@example.com", None])
PLANS = st.fixed_dictionaries({}, optional={"plan": st.sampled_from(["pro", "", 7, {"a": [1]}]), "seats": st.just("2")})
PAYMENTS = st.builds(
    Payment,
    status=st.sampled_from([*STATUSES, "succeeded", "succeeded"]),
    address=st.sampled_from([None, None, None, APPS_ADDRESS]),
    keys=st.sampled_from([0, 0, 0, MOST_KEYS]),
    is_old=st.booleans(),
)
ACCOUNTS = st.builds(
    Account,
    link=st.sampled_from(["linked", "linked", "linked", *LINKS]),
    ours=st.sampled_from([0, 0, 1, 2]),
    name=NAME,
    email=EMAIL,
    flag=st.booleans(),
    metadata=PLANS,
    stripe_name=NAME,
    stripe_email=EMAIL,
    keys=st.sampled_from([0, 0, MOST_KEYS - 1, MOST_KEYS]),
    payments=st.lists(PAYMENTS, min_size=1, max_size=3).map(tuple),
)
WITHOUT_LINK = st.sampled_from(["create", "create", "link-only", "report"])
POLICIES = st.builds(
    Policy,
    when_unlinked=WITHOUT_LINK,
    when_gone=WITHOUT_LINK,
    metadata_keys=st.sampled_from([(), ("plan",), ("seats", "plan")]),
    receipts=st.sampled_from(["open", "open", "recover", "recover", "mirror"]),
    recover_seconds=st.just(10 * 86_400.0),
)

CUSTOMERS = st.sampled_from(NAMES)
LINKED_IDS = st.sampled_from([None, None, None, "", *STRIPE_IDS, *STRANGERS, NOWHERE])
SAID_METADATA = st.dictionaries(
    st.sampled_from(["plan", "seats"]), st.sampled_from([None, "pro", "free", 7]), max_size=2
)
PROFILE = st.fixed_dictionaries(
    {},
    optional={
        "name": NAME | st.just(""),
        "email": EMAIL,
        "metadata": SAID_METADATA,
        "send_email_receipts": st.booleans(),
    },
)
LINKING = st.fixed_dictionaries({"stripe_id": LINKED_IDS}, optional={"name": NAME, "email": EMAIL})
FLAG = st.fixed_dictionaries({"send_email_receipts": st.booleans()})
CHANGES: st.SearchStrategy[dict[str, Any]] = st.one_of(st.just({}), FLAG, PROFILE, FLAG, LINKING)
"""An event without changes is a reconcile."""

Sayings = list[tuple[str, dict[str, Any]]]
SAYINGS = st.lists(st.tuples(CUSTOMERS, CHANGES), min_size=1, max_size=3)
SYNCS: st.SearchStrategy[Syncing] = st.sampled_from(["whole", "whole", "whole", "later", *range(1, 13)])
PICKS = st.integers(0, 12)
HANDS = st.sampled_from(
    ["deletes", "edits the name", "edits the email", "takes the autumn_id", "gives the autumn_id", "edits the metadata"]
)
PAYERS = st.sampled_from(["pays", "pays", "sets its own", "clears it", "begins"])
FAILURES = st.builds(
    Fault,
    kind=st.sampled_from(list[Kind](["429", "500", "503", "cut", "lost", "garbage"])),
    route=st.sampled_from(["", "GET ", "POST ", "search", "payment_intents", "customers.update", "POST /v1/customers"]),
    times=st.integers(1, 2),
)
REFUSAL = Fault("400", route="customers.update", times=1)
FAULTS = st.one_of(FAILURES, FAILURES, FAILURES, st.just(REFUSAL))
ARRIVALS: st.SearchStrategy[Arriving] = st.sampled_from(["at once", "later"])
WEBHOOKS = st.lists(PICKS, max_size=3)
"""Indexes of the pending webhooks that arrive, one after the other."""
