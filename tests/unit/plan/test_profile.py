"""The profile in Stripe: within its limits, and cleared only on request."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import GiveUp
from jobs.plan.customer import METADATA_KEYS_MAX, METADATA_VALUE_MAX, AutumnCustomer, StripeCustomer
from jobs.plan.profile import (
    Refused,
    WriteRules,
    can_be_claimed,
    divided,
    form_digest,
    name_and_email_update,
    profile_update,
    refused_field,
    too_long,
)
from jobs.plan.steps import UpdateStripe

AUTUMN = AutumnCustomer("ann", "Ann", "ann@example.com", "cus_1", "test", send_email_receipts=False)
OURS = {"autumn_id": "ann", "autumn_send_email_receipts": "false"}
STRIPE = StripeCustomer("cus_1", "Ann", "ann@example.com", "test", OURS)
NOTHING = WriteRules()


def test_long_name_is_cut_and_long_email_left_out() -> None:
    autumn = replace(AUTUMN, name="x" * 300, email=f"{'y' * 520}@example.com")
    update, found = profile_update(autumn, STRIPE, NOTHING, ())
    assert update == UpdateStripe("cus_1", name="x" * 256)
    assert [finding.kind for finding in found] == ["name-cut", "email-left-out"]
    assert not any("xxx" in finding.text or "yyy" in finding.text for finding in found)


def test_only_named_metadata_keys_are_copied_as_text() -> None:
    autumn = replace(AUTUMN, metadata={"plan": "pro", "seats": 3, "tags": ["a", "ö"], "secret": "x", "none": None})
    update, found = profile_update(autumn, STRIPE, NOTHING, ("plan", "seats", "tags", "none", "missing"))
    assert update.metadata == (("plan", "pro"), ("seats", "3"), ("tags", '["a","ö"]'))
    assert found == []


def test_metadata_key_is_removed_only_if_an_event_removed_it() -> None:
    stripe = replace(STRIPE, metadata={**OURS, "plan": "pro", "seats": "3"})
    update, _ = profile_update(AUTUMN, stripe, WriteRules(frozenset({"metadata.plan"})), ("plan", "seats"))
    assert update == UpdateStripe("cus_1", metadata=(("plan", ""),))


def test_long_metadata_is_cut_and_excess_keys_left_out() -> None:
    theirs = {f"k{index}": "v" for index in range(METADATA_KEYS_MAX - 3)}
    stripe = replace(STRIPE, metadata={**OURS, **theirs})
    autumn = replace(AUTUMN, metadata={"long": "x" * 501, "more": "y"})
    update, found = profile_update(autumn, stripe, NOTHING, ("long", "more"))
    assert update.metadata == (("long", "x" * METADATA_VALUE_MAX),)
    assert [finding.kind for finding in found] == ["metadata-cut", "metadata-left-out"]


def test_customer_with_full_metadata_cannot_be_claimed() -> None:
    full = {f"k{index}": "v" for index in range(METADATA_KEYS_MAX)}
    assert not can_be_claimed(replace(STRIPE, metadata=full))
    assert can_be_claimed(replace(STRIPE, metadata={**dict(list(full.items())[:49]), "autumn_id": "ann"}))


def test_too_long_value_is_reported_with_its_field() -> None:
    assert too_long({"name": "x" * 256, "email": None}) is None
    text = too_long({"name": "x" * 257})
    assert text is not None
    assert text.startswith("changes.name: has 257 characters")


METADATA = st.dictionaries(st.sampled_from([f"k{index}" for index in range(60)]), st.sampled_from(["", "v", "w"]))


@given(METADATA, METADATA, st.frozensets(st.sampled_from([f"metadata.k{index}" for index in range(60)])))
def test_update_respects_limits_and_clears_only_requested_fields(
    in_autumn: dict[str, str], in_stripe: dict[str, str], cleared: frozenset[str]
) -> None:
    present = dict([(key, value) for key, value in in_stripe.items() if value][:48])
    autumn = replace(AUTUMN, metadata=in_autumn)
    stripe = replace(STRIPE, metadata={**present, **OURS})
    keys = tuple(f"k{index}" for index in range(60))
    update, _ = profile_update(autumn, stripe, WriteRules(cleared), keys)
    after = {key: value for key, value in {**stripe.metadata, **dict(update.metadata)}.items() if value}
    assert len(after) <= METADATA_KEYS_MAX
    for key in stripe.metadata.keys() - after.keys():
        assert f"metadata.{key}" in cleared
    again, _ = profile_update(autumn, replace(stripe, metadata=after), WriteRules(cleared), keys)
    assert again.metadata == ()


def test_other_form_of_a_value_is_written_only_if_requested() -> None:
    autumn = replace(AUTUMN, name=" Ann  B. ", email="Ann@Example.com")
    stripe = replace(STRIPE, name="Ann B.", email="ann@example.com")
    assert profile_update(autumn, stripe, NOTHING, ())[0].writes_nothing
    requested = WriteRules(requested=frozenset({"email"}))
    assert profile_update(autumn, stripe, requested, ())[0] == UpdateStripe("cus_1", email="Ann@Example.com")
    assert profile_update(replace(AUTUMN, name="ann"), STRIPE, NOTHING, ())[0] == UpdateStripe("cus_1", name="ann")


def test_refused_field_is_left_out_with_a_finding() -> None:
    autumn = replace(AUTUMN, name="Bob", email="foo@com", metadata={"plan": "pro"})
    rules = WriteRules(refused=(Refused("email", "email_invalid"), Refused("metadata.plan", "parameter_invalid")))
    update, found = profile_update(autumn, STRIPE, rules, ("plan",))
    assert update == UpdateStripe("cus_1", name="Bob")
    assert [(each.kind, each.text) for each in found] == [
        ("refused-by-stripe", "Stripe refuses email (email_invalid)"),
        ("refused-by-stripe", "Stripe refuses metadata.plan (parameter_invalid)"),
    ]


def test_form_that_stripe_stored_is_not_written_again() -> None:
    autumn, stripe = replace(AUTUMN, name="Jose\u0301"), replace(STRIPE, name="Jos\u00e9")
    assert profile_update(autumn, stripe, NOTHING, ())[0] == UpdateStripe("cus_1", name="Jose\u0301")
    forms = WriteRules(forms={"name": (form_digest("Jose\u0301"), form_digest("Jos\u00e9"))})
    assert profile_update(autumn, stripe, forms, ())[0].writes_nothing
    assert not profile_update(replace(autumn, name="Another"), stripe, forms, ())[0].writes_nothing


def test_claim_and_profile_are_one_write() -> None:
    update, _ = name_and_email_update(replace(AUTUMN, name="Bob"), replace(STRIPE, metadata={}), NOTHING)
    assert update == UpdateStripe("cus_1", name="Bob", metadata=(("autumn_id", "ann"),))


def test_metadata_key_set_to_empty_text_is_removed() -> None:
    stripe = replace(STRIPE, metadata={**OURS, "plan": "pro"})
    autumn = replace(AUTUMN, metadata={"plan": ""})
    assert profile_update(autumn, stripe, NOTHING, ("plan",))[0].writes_nothing
    rules = WriteRules(cleared=frozenset({"metadata.plan"}))
    assert profile_update(autumn, stripe, rules, ("plan",))[0] == UpdateStripe("cus_1", metadata=(("plan", ""),))


def test_step_is_divided_by_field_with_claim_first() -> None:
    step = UpdateStripe("cus_1", name="Ann", metadata=(("plan", "pro"), ("autumn_id", "ann")))
    assert divided(step) == [
        UpdateStripe("cus_1", metadata=(("autumn_id", "ann"),)),
        UpdateStripe("cus_1", name="Ann"),
        UpdateStripe("cus_1", metadata=(("plan", "pro"),)),
    ]


@pytest.mark.parametrize(
    ("param", "field"),
    [("name", "name"), ("metadata[plan]", "metadata.plan"), ("metadata", None), (None, None), ("email", None)],
)
def test_refused_field_is_found_by_its_parameter(param: str | None, field: str | None) -> None:
    step = UpdateStripe("cus_1", name="Ann", metadata=(("plan", "pro"),))
    assert refused_field(GiveUp("stripe", "invalid", param=param), step) == field
    assert refused_field(GiveUp("stripe", "invalid", param=param), UpdateStripe("cus_1", name="Ann")) == "name"
