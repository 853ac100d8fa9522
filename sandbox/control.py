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
    """Return the routes `GET /_sandbox/settings` and `POST`, which takes a JSON object of settings.

    The settings are `delay_seconds` ([least, most], or null to hold webhooks), `twice` (a probability),
    `without_change` and `normalizes`; see `Webhooks` and `StripeSimulator`.
    """

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(_settings(stripe))

    async def change(request: web.Request) -> web.Response:
        try:
            _change(stripe, await _json(request, "settings"))
        except _BadFieldError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(_settings(stripe))

    return [web.get("/_sandbox/settings", show), web.post("/_sandbox/settings", change)]


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
    return {
        "delay_seconds": stripe.webhooks.delay_seconds,
        "twice": stripe.webhooks.twice,
        "without_change": stripe.webhooks.without_change,
        "normalizes": stripe.normalizes,
    }


def _change(stripe: StripeSimulator, body: dict[str, Any]) -> None:
    _refuse_unknown(body, _settings(stripe).keys())
    delay_seconds = _delay(body.get("delay_seconds", stripe.webhooks.delay_seconds))
    twice = _number(body, "twice", stripe.webhooks.twice, most=1.0)
    without_change = _boolean(body, "without_change", stripe.webhooks.without_change)
    stripe.normalizes = _boolean(body, "normalizes", stripe.normalizes)
    stripe.webhooks.delay_seconds, stripe.webhooks.twice = delay_seconds, twice
    stripe.webhooks.without_change = without_change


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


def _delay(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    wrong = _BadFieldError("delay_seconds must be [least, most] in seconds, from 0 to 3600, or null.")
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
