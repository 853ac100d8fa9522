"""Customers, keys and the control routes of the simulated Stripe."""

import base64

import pytest

from sandbox.stripe.server import StripeSimulator
from tests.support.stripe_client import Client, Clock

# Customers


async def test_metadata_merges_and_an_empty_value_unsets(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{simulator.seed_customer(metadata={'a': '1', 'b': '2'})['id']}"
    merged = await client.post(path, **{"metadata[a]": "", "metadata[c]": "3"})
    assert merged.body["metadata"] == {"b": "2", "c": "3"}
    assert (await client.post(path, metadata="")).body["metadata"] == {}


async def test_empty_name_or_email_reads_back_as_null(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{simulator.seed_customer(name='Ann', email='ann@example.com')['id']}"
    cleared = await client.post(path, name="", email="")
    assert (cleared.body["name"], cleared.body["email"]) == (None, None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"metadata": "text"}, "metadata"),
        ({"metadata[a][b]": "text"}, "metadata[a]"),
        ({"name": "A", "name[first]": "A"}, "name[first]"),
        ({"expand": "x"}, "expand"),
    ],
)
async def test_parameter_of_wrong_form_is_refused(
    client: Client, simulator: StripeSimulator, fields: dict[str, str], param: str
) -> None:
    refused = await client.post("/v1/customers", **fields)
    assert (refused.status, refused.error["param"]) == (400, param)
    assert not simulator.customers


async def test_longest_allowed_values_are_kept(client: Client) -> None:
    kept = await client.post("/v1/customers", name="n" * 256, **{"metadata[" + "k" * 40 + "]": "v" * 500})
    assert kept.body["name"] == "n" * 256
    assert kept.body["metadata"] == {"k" * 40: "v" * 500}


async def test_list_is_newest_first_and_pages_both_ways(client: Client, simulator: StripeSimulator) -> None:
    ids = [simulator.seed_customer(created=second)["id"] for second in (5, 1, 3, 3)]
    newest_first = [ids[0], ids[3], ids[2], ids[1]]
    page = (await client.get("/v1/customers", limit="2")).body
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (newest_first[:2], True)
    after = (await client.get("/v1/customers", starting_after=newest_first[1])).body
    assert ([each["id"] for each in after["data"]], after["has_more"]) == (newest_first[2:], False)
    before = (await client.get("/v1/customers", ending_before=newest_first[3], limit="2")).body
    assert ([each["id"] for each in before["data"]], before["has_more"]) == (newest_first[1:3], True)


@pytest.mark.parametrize("cursor", [{"starting_after": "cus_none"}, {"limit": "0"}, {"limit": "101"}, {"limit": "x"}])
async def test_invalid_cursor_or_limit_is_refused(client: Client, cursor: dict[str, str]) -> None:
    assert (await client.get("/v1/customers", **cursor)).status == 400


async def test_list_filters_by_exact_email_and_time_without_deleted_customers(
    client: Client, simulator: StripeSimulator
) -> None:
    ann = simulator.seed_customer(email="ann@example.com", created=100)["id"]
    simulator.seed_customer(email="Ann@example.com", created=50)
    simulator.seed_customer(email="ann@example.com", created=200, test_clock="clock_1")
    simulator.seed_customer(deleted=True)
    by_email = await client.get("/v1/customers", email="ann@example.com")
    by_time = await client.get("/v1/customers", **{"created[gt]": "50", "created[lte]": "100"})
    at_one_time = await client.get("/v1/customers", created="100")
    assert [[each["id"] for each in answer.body["data"]] for answer in (by_email, by_time, at_one_time)] == [[ann]] * 3


async def test_search_lags(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    simulator.search_lag_seconds = 60

    async def found() -> list[str]:
        answer = await client.get("/v1/customers/search", query="metadata['autumn_id']:'ann'")
        return [each["id"] for each in answer.body["data"]]

    made = (await client.post("/v1/customers", **{"metadata[autumn_id]": "ann"})).body["id"]
    assert await found() == []
    clock.now += 60
    assert await found() == [made]
    await client.send("DELETE", f"/v1/customers/{made}")
    assert await found() == [made]
    clock.now += 60
    assert await found() == []


async def test_seeded_customer_is_found_despite_the_lag(client: Client, simulator: StripeSimulator) -> None:
    seeded = simulator.seed_customer(name="O'Neill")["id"]
    simulator.search_lag_seconds = 60
    answer = await client.get("/v1/customers/search", query=r"name:'o\'neill'")
    assert [each["id"] for each in answer.body["data"]] == [seeded]


async def test_search_has_pages(client: Client, simulator: StripeSimulator) -> None:
    seeded = {simulator.seed_customer(name="Ann")["id"] for _ in range(3)}
    first = (await client.get("/v1/customers/search", query="name:'Ann'", limit="2")).body
    second = (await client.get("/v1/customers/search", query="name:'Ann'", page=first["next_page"])).body
    assert {each["id"] for each in first["data"] + second["data"]} == seeded
    assert (first["has_more"], second["has_more"]) == (True, False)


@pytest.mark.parametrize("query", ["", "email", "email:'a' OR name:'b'", "email:'a"])
async def test_invalid_query_is_refused(client: Client, query: str) -> None:
    assert (await client.get("/v1/customers/search", query=query)).status == 400


async def test_search_may_be_missing_as_in_india(client: Client, simulator: StripeSimulator) -> None:
    simulator.search_available = False
    assert (await client.get("/v1/customers/search", query="email:'a@example.com'")).status == 400


# Autumn's lists, keys, other paths and the control routes


async def test_lists_that_autumn_requests_are_empty_or_404(client: Client, simulator: StripeSimulator) -> None:
    ann, gone = simulator.seed_customer()["id"], simulator.seed_customer(deleted=True)["id"]
    for path, more in (("/v1/subscriptions", {}), ("/v1/subscription_schedules", {"scheduled": "true"})):
        assert (await client.get(path, customer=ann, limit="100", **more)).body["data"] == []
        assert (await client.get(path, customer=gone)).status == 200
        assert (await client.get(path, customer="cus_none")).status == 404


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer sk_test_other", "Basic !", "Basic c2s6"])
async def test_without_the_key_every_answer_is_401(client: Client, authorization: str) -> None:
    answer = await client.send("GET", "/v1/account", headers={"Authorization": authorization})
    assert answer.status == 401
    assert answer.error["type"] == "invalid_request_error"


async def test_key_is_accepted_in_curls_form(client: Client, simulator: StripeSimulator) -> None:
    authorization = f"Basic {base64.b64encode(simulator.key.encode() + b':').decode()}"
    answer = await client.send("GET", "/v1/account", headers={"Authorization": authorization})
    assert answer.body["object"] == "account"


async def test_unknown_path_is_404(client: Client) -> None:
    assert "Unrecognized request URL" in (await client.get("/v1/nothing")).error["message"]


async def test_live_mode_shows_on_the_objects() -> None:
    live = StripeSimulator(key="sk_live_sandbox", livemode=True)
    assert live.seed_customer()["livemode"]
    assert live.seed_payment_intent()["livemode"]


async def test_seed_with_an_unknown_field_is_refused(simulator: StripeSimulator) -> None:
    with pytest.raises(ValueError, match="has no emial"):
        simulator.seed_customer(emial="ann@example.com")


async def test_faults_are_switched_over_http_despite_keys_and_faults(
    client: Client, simulator: StripeSimulator
) -> None:
    fault = {"kind": "503", "route": "GET /v1", "times": 2, "probability": 1, "seconds": 0}
    await client.send("POST", "/_sandbox/faults", json=fault)
    assert (await client.get("/v1/account")).status == 503
    state = (await client.send("GET", "/_sandbox", headers={"Authorization": ""})).body
    assert state == {
        "customers": 0,
        "faults": [{**fault, "times": 1}],
        "fired": {"503": 1},
        "latency_seconds": 0.0,
    }
    await client.send("DELETE", "/_sandbox/faults")
    assert (await client.get("/v1/account")).status == 200
    assert [call.path for call in simulator.calls] == ["/v1/account", "/v1/account"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("no json", "JSON object"),
        ("[]", "JSON object"),
        ("{}", "kind"),
        ('{"kind": "418"}', "kind"),
        ('{"kind": "500", "rout": "/"}', "rout"),
        ('{"kind": "500", "route": 1}', "route"),
        ('{"kind": "500", "times": 0}', "times"),
        ('{"kind": "500", "probability": 2}', "probability"),
        ('{"kind": "hang", "seconds": "1"}', "seconds"),
    ],
)
async def test_invalid_fault_is_refused_with_its_field(client: Client, body: str, field: str) -> None:
    refused = await client.send("POST", "/_sandbox/faults", data=body)
    assert refused.status == 400
    assert field in refused.body["error"]
