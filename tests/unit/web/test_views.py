"""The comparison of both sides on the page of a customer."""

from jobs.plan.customer import AutumnCustomer, StripeCustomer, StripeView
from jobs.plan.plan import LinkState, Plan
from jobs.sync.preview import Preview
from worker.status.live_text import preview_lines
from worker.web.views import comparison_of

KEYS = ("vip", "limits", "name")
AUTUMN = AutumnCustomer(
    "ann",
    "Ann",
    "ann@example.com",
    "cus_1",
    "test",
    send_email_receipts=True,
    metadata={"vip": True, "limits": {"a": 1}, "name": "é"},
)
IN_SYNC = {
    "autumn_id": "ann",
    "autumn_send_email_receipts": "true",
    "vip": "true",
    "limits": '{"a":1}',
    "name": "é",
}
PREVIEW = Preview(
    1_700_000_000_000,
    AUTUMN,
    StripeView(StripeCustomer("cus_1", "Ann", "ann@example.com", "test", IN_SYNC)),
    Plan(LinkState.LINKED),
    KEYS,
)


def test_every_row_agrees_when_no_step_is_left() -> None:
    assert [row for row in comparison_of(PREVIEW) if not row.agrees] == []


def test_status_shows_metadata_as_stripe_stores_it() -> None:
    autumn, stripe = preview_lines(PREVIEW, 0)[2:4]
    for text in ("metadata.vip true", 'metadata.limits {"a":1}', "metadata.name é"):
        assert text in autumn
        assert text in stripe
