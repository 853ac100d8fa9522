"""The size of a page, learned from Autumn's refusal of a larger one."""

import json
from typing import Any

import pytest

from jobs.autumn.pages import CustomerPage, PageSize, fitting_page
from jobs.errors import GiveUp

EMPTY = CustomerPage.model_validate({"list": [], "next_cursor": None})
REFUSALS = {
    "invalid_request": "limit {limit} exceeds max of {allowed} for this org",
    "invalid_inputs": "limit: Too big: expected number to be <={allowed}",
}


class Server:
    """A list that allows pages of `allowed` customers and refuses larger ones as Autumn does."""

    def __init__(self, allowed: int, code: str = "invalid_request") -> None:
        self.allowed = allowed
        self.code = code
        self.limits: list[int] = []

    async def page(self, limit: int) -> CustomerPage:
        self.limits.append(limit)
        if limit > self.allowed:
            raise GiveUp("autumn", self.code, REFUSALS[self.code].format(limit=limit, allowed=self.allowed))
        return EMPTY


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("allowed", [1, 200, 999])
async def test_page_size_follows_the_refusal_and_is_kept(code: str, allowed: int) -> None:
    server, size = Server(allowed, code), PageSize()
    for _ in range(2):
        assert await fitting_page(server.page, size) is EMPTY
    assert server.limits == [1000, allowed, allowed]


async def test_page_size_stays_while_nothing_is_refused() -> None:
    server, size = Server(5000), PageSize()
    await fitting_page(server.page, size)
    assert server.limits == [1000]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("invalid_cursor", "cursor payload is not valid JSON"),
        ("invalid_request", "limit 1000 exceeds max of 1000 for this org"),
        ("invalid_request", "limit 1000 exceeds max of 0 for this org"),
        ("invalid_request", "limit is not allowed"),
        ("invalid_inputs", "start_cursor: must be a string of 20 characters"),
        ("customer_not_found", "limit 20"),
    ],
)
async def test_refusal_that_names_no_smaller_size_is_raised(code: str, message: str) -> None:
    calls: list[int] = []

    async def page(limit: int) -> CustomerPage:
        calls.append(limit)
        raise GiveUp("autumn", code, message)

    with pytest.raises(GiveUp, match=code):
        await fitting_page(page, PageSize())
    assert calls == [1000]


async def test_repeated_refusals_end() -> None:
    async def page(limit: int) -> CustomerPage:
        raise GiveUp("autumn", "invalid_request", f"limit {limit} exceeds max of {limit - 300} for this org")

    with pytest.raises(GiveUp, match="limit 100 exceeds"):
        await fitting_page(page, PageSize())


def test_page_without_creation_times_is_refused() -> None:
    customer: dict[str, Any] = {
        **{"id": "ann", "name": None, "email": None, "stripe_id": None, "env": "sandbox"},
        **{"metadata": {}, "send_email_receipts": False, "created_at": 1767225600000},
    }
    page = {"list": [customer], "next_cursor": None}
    assert CustomerPage.model_validate_json(json.dumps(page)).list[0].created_at == 1767225600000
    del customer["created_at"]
    with pytest.raises(ValueError, match="created_at"):
        CustomerPage.model_validate_json(json.dumps(page))
