"""HTTP routes that change the faults and settings of a running simulator, for use with curl.

They are not part of the simulated service, so its keys, limits and faults do not apply to them.
"""

from collections.abc import Set, Sized
from dataclasses import asdict
from typing import Any, Protocol, get_args

from aiohttp import web

from sandbox.faults import Fault, Kind, Switches
from sandbox.stripe.server import StripeSimulator

_KINDS: tuple[Kind, ...] = get_args(Kind)


class Simulator(Protocol):
    """A simulator, as far as the control routes use it."""

    @property
    def switches(self) -> Switches:
        """The faults that are switched on."""

    @property
    def customers(self) -> Sized:
        """The customers it holds."""


def control_routes(simulator: Simulator) -> list[web.RouteDef]:
    """Return the routes of the faults: `POST /_sandbox/faults` adds one, `DELETE` clears all, `GET /_sandbox` lists."""

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(_state(simulator))

    async def switch_on(request: web.Request) -> web.Response:
        try:
            simulator.switches.add(_fault(await _json(request, "a kind")))
        except (_BadFieldError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(_state(simulator))

    async def switch_off(_request: web.Request) -> web.Response:
        simulator.switches.clear()
        return web.json_response(_state(simulator))

    return [
        web.get("/_sandbox", show),
        web.post("/_sandbox/faults", switch_on),
        web.delete("/_sandbox/faults", switch_off),
    ]


def stripe_routes(stripe: StripeSimulator) -> list[web.RouteDef]:
    """Return the routes of the settings and the webhook endpoints.

    `GET /_sandbox/settings` lists the settings, and `POST` takes a JSON object of them. Of Autumn's webhooks:
    `delay_seconds` ([least, most], or null to hold them), `twice` (a probability) and `without_change`; see `Webhooks`.
    Of the list of events: `list_delay_seconds` ([least, most]), `ids_in_order`, and the probabilities `withheld`,
    `shifts` and `repeats`; see `Events`. `normalizes` is of `StripeSimulator`.

    `POST /_sandbox/webhooks` adds an endpoint: an object with `url`, `secret` and `types`.
    """

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(_settings(stripe))

    async def change(request: web.Request) -> web.Response:
        try:
            _change(stripe, await _json(request, "settings"))
        except _BadFieldError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(_settings(stripe))

    async def add(request: web.Request) -> web.Response:
        try:
            added = _endpoint(await _json(request, "a url, a secret and types"))
        except _BadFieldError as error:
            return web.json_response({"error": str(error)}, status=400)
        stripe.webhooks.add_endpoint(**added)
        return web.json_response(added)

    return [
        web.get("/_sandbox/settings", show),
        web.post("/_sandbox/settings", change),
        web.post("/_sandbox/webhooks", add),
    ]


class _BadFieldError(Exception):
    """An invalid request; the text is the answer to its sender."""


def _state(simulator: Simulator) -> dict[str, Any]:
    switches = simulator.switches
    return {
        "customers": len(simulator.customers),
        "faults": [asdict(fault) for fault in switches.faults],
        "fired": switches.fired,
        "latency_seconds": switches.latency_seconds,
    }


def _settings(stripe: StripeSimulator) -> dict[str, Any]:
    events = stripe.events
    return {
        "list_delay_seconds": events.list_delay_seconds,
        "ids_in_order": events.ids_in_order,
        "withheld": events.withheld,
        "shifts": events.shifts,
        "repeats": events.repeats,
        "delay_seconds": stripe.webhooks.delay_seconds,
        "twice": stripe.webhooks.twice,
        "without_change": stripe.webhooks.without_change,
        "normalizes": stripe.normalizes,
    }


def _change(stripe: StripeSimulator, body: dict[str, Any]) -> None:
    settings = _settings(stripe)
    _refuse_unknown(body, settings.keys())
    delay_seconds = _webhook_delay(body, settings)
    list_delay_seconds = _delay(body, "list_delay_seconds", settings)
    numbers = {
        name: _number(body, name, settings[name], most=1.0) for name in ("twice", "withheld", "shifts", "repeats")
    }
    flags = {name: _boolean(body, name, settings[name]) for name in ("without_change", "ids_in_order", "normalizes")}
    stripe.normalizes = flags["normalizes"]
    stripe.webhooks.delay_seconds, stripe.webhooks.twice = delay_seconds, numbers["twice"]
    stripe.webhooks.without_change = flags["without_change"]
    events = stripe.events
    events.list_delay_seconds, events.ids_in_order = list_delay_seconds, flags["ids_in_order"]
    events.withheld, events.shifts, events.repeats = numbers["withheld"], numbers["shifts"], numbers["repeats"]


def _endpoint(body: dict[str, Any]) -> dict[str, Any]:
    _refuse_unknown(body, {"url", "secret", "types"})
    url, secret, types = (body.get(name) for name in ("url", "secret", "types"))
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise _BadFieldError("url must be a string that begins with http:// or https://.")
    if not isinstance(secret, str) or not secret:
        raise _BadFieldError("secret must be a string, as whsec_...")
    if not isinstance(types, list) or not types or not all(isinstance(each, str) for each in types):
        raise _BadFieldError("types must be a list of strings, as charge.succeeded or customer.*")
    return {"url": url, "secret": secret, "types": types}


async def _json(request: web.Request, what: str) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _BadFieldError(f"The body must be a JSON object with {what}.")
    return body


def _fault(body: dict[str, Any]) -> Fault:
    _refuse_unknown(body, {"kind", "route", "times", "probability", "seconds"})
    if body.get("kind") not in _KINDS:
        raise _BadFieldError(f"kind must be one of {', '.join(_KINDS)}.")
    route = body.get("route", "")
    if not isinstance(route, str):
        raise _BadFieldError('route must be a string, a part of "METHOD /path".')
    times = body.get("times")
    if times is not None and (type(times) is not int or times < 1):
        raise _BadFieldError("times must be a whole number from 1, or null to keep the fault until it is removed.")
    return Fault(
        kind=body["kind"],
        route=route,
        times=times,
        probability=_number(body, "probability", 1.0, most=1.0),
        seconds=_number(body, "seconds", 30.0, most=3600.0),
    )


def _refuse_unknown(body: dict[str, Any], known: Set[str]) -> None:
    unknown = body.keys() - known
    if unknown:
        raise _BadFieldError(f"Unknown field: {', '.join(sorted(unknown))}.")


def _webhook_delay(body: dict[str, Any], settings: dict[str, Any]) -> tuple[float, float] | None:
    held = body.get("delay_seconds", settings["delay_seconds"]) is None
    return None if held else _delay(body, "delay_seconds", settings)


def _delay(body: dict[str, Any], name: str, settings: dict[str, Any]) -> tuple[float, float]:
    value = body.get(name, settings[name])
    or_null = ", or null" if name == "delay_seconds" else ""
    wrong = _BadFieldError(f"{name} must be [least, most] in seconds, from 0 to 3600{or_null}.")
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise wrong
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | float) or not 0 <= each <= 3600:
            raise wrong
    least, most = value
    if least > most:
        raise wrong
    return float(least), float(most)


def _boolean(body: dict[str, Any], name: str, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise _BadFieldError(f"{name} must be true or false.")
    return value


def _number(body: dict[str, Any], name: str, default: float, *, most: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _BadFieldError(f"{name} must be a number from 0 to {most:g}.")
    return float(value)
