"""A small dashboard of the simulated Stripe, for a browser or curl: people edit customers there, and payments begin.

Like Stripe's dashboard, it writes with a request id and without an idempotency key. It is a page without scripts; its
routes are not part of the simulated API, so its keys, limits and faults do not apply to them.
"""

from collections.abc import Callable
from html import escape

from aiohttp import web

from sandbox.stripe.errors import Json, StripeError, invalid
from sandbox.stripe.payments import LATER, NEW
from sandbox.stripe.requests import ENDPOINTS, parse_form, validate
from sandbox.stripe.server import StripeSimulator

PATH = "/_sandbox/dashboard"
_MOST_SHOWN = 200
_STATUSES = (NEW, *LATER)
_CREATE = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "payment_intents.create")
_STYLE = "body{font:15px sans-serif;margin:2em} fieldset{margin:1em 0;border:1px solid #ccc} form{display:inline}"


def dashboard_routes(stripe: StripeSimulator) -> list[web.RouteDef]:
    """Return the routes of the dashboard.

    `GET /_sandbox/dashboard` is the page. `POST .../customers/{id}` takes the parameters of Stripe's API: `email=`
    clears the e-mail, `metadata[KEY]=` unsets a key. `.../delete` deletes the customer. `.../payments` begins a payment
    with the parameters of Stripe's API and a `status`. Each POST redirects to the page, or answers with Stripe's error.
    """

    def begin(customer_id: str, form: Json) -> None:
        stripe.begin_payment(by="dashboard", **_payment(customer_id, form))

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text=_page(stripe), content_type="text/html")

    async def edit(request: web.Request) -> web.Response:
        return await _done(request, lambda customer_id, form: stripe.edit(customer_id, **form))

    async def delete(request: web.Request) -> web.Response:
        return await _done(request, lambda customer_id, _form: stripe.delete(customer_id))

    async def pay(request: web.Request) -> web.Response:
        return await _done(request, begin)

    customer = PATH + "/customers/{id}"
    return [
        web.get(PATH, show),
        web.post(customer, edit),
        web.post(f"{customer}/delete", delete),
        web.post(f"{customer}/payments", pay),
    ]


async def _done(request: web.Request, write: Callable[[str, Json], object]) -> web.Response:
    try:
        form = parse_form((await request.read()).decode(errors="replace"))
        write(request.match_info["id"], form)
    except StripeError as error:
        return web.Response(text=f"{error}\n", status=error.status)
    # After a redirect, a browser that loads the page again does not send the form again.
    return web.Response(status=303, headers={"Location": PATH})


def _payment(customer_id: str, form: Json) -> Json:
    status = form.pop("status", NEW)
    if status not in _STATUSES:
        raise invalid("status", f"Invalid status: must be one of {', '.join(_STATUSES)}")
    fields = validate(_CREATE, {"amount": "1000", "currency": "usd", **form, "customer": customer_id})
    fields.pop("expand", None)
    fields["receipt_email"] = fields.get("receipt_email") or None
    return {**fields, "status": status}


def _page(stripe: StripeSimulator) -> str:
    there = [customer for customer in stripe.customers.values() if not customer.get("deleted")]
    shown = there[: -_MOST_SHOWN - 1 : -1]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Simulated Stripe</title>",
        f"<style>{_STYLE}</style><h1>Customers of the simulated Stripe</h1>",
        f"<p>{len(shown)} of {len(there)}, newest first. Events: {len(stripe.events.made)}.</p>",
        *(_customer(customer, _payments_of(stripe, customer["id"])) for customer in shown),
    ]
    return "\n".join(parts)


def _payments_of(stripe: StripeSimulator, customer_id: str) -> list[Json]:
    return [intent for intent in stripe.payment_intents.values() if intent["customer"] == customer_id]


def _customer(customer: Json, payments: list[Json]) -> str:
    action = escape(f"{PATH}/customers/{customer['id']}")
    values = {
        "name": customer["name"],
        "email": customer["email"],
        "metadata[autumn_id]": customer["metadata"].get("autumn_id"),
    }
    fields = (
        f"<label>{name} <input name='{name}' value='{escape(value or '')}'></label>" for name, value in values.items()
    )
    statuses = "".join(f"<option>{status}</option>" for status in _STATUSES)
    paid = (
        f"<li>{escape(intent['id'])}: {intent['status']}, {escape(intent['receipt_email'] or 'no address')}</li>"
        for intent in payments
    )
    others = ", ".join(f"{key}={value}" for key, value in customer["metadata"].items() if key != "autumn_id")
    return f"""<fieldset><legend>{escape(customer["id"])}</legend>
<form method=post action='{action}'>{" ".join(fields)} <button>Save</button></form>
<form method=post action='{action}/delete'><button>Delete</button></form>
<form method=post action='{action}/payments'>
<select name=status>{statuses}</select> <button>Begin a payment</button></form>
<p>{escape(others)}</p><ul>{"".join(paid)}</ul></fieldset>"""
