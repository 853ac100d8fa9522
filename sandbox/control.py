"""Switching a running simulator's faults and settings from outside, with curl.

The routes stand beside the simulated service, not behind it: no key, no limit and no fault is in their way.
"""

from collections.abc import Set, Sized
from dataclasses import asdict
from typing import Any, Protocol, get_args

from aiohttp import web

from sandbox.faults import Fault, Kind, Switches
from sandbox.stripe.server import StripeSimulator

_KINDS: tuple[Kind, ...] = get_args(Kind)


class Simulator(Protocol):
    """What the control routes need of a simulator."""

    @property
    def switches(self) -> Switches:
        """The faults that are switched on."""

    @property
    def customers(self) -> Sized:
        """The customers it holds."""


def control_routes(simulator: Simulator) -> list[web.RouteDef]:
    """`GET /_sandbox` tells, `POST /_sandbox/faults` switches one on, `DELETE /_sandbox/faults` all off."""

    async def tell(_request: web.Request) -> web.Response:
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
        web.get("/_sandbox", tell),
        web.post("/_sandbox/faults", switch_on),
        web.delete("/_sandbox/faults", switch_off),
    ]


def stripe_routes(stripe: StripeSimulator) -> list[web.RouteDef]:
    """`GET /_sandbox/settings` tells the settings, `POST /_sandbox/settings` changes those in its JSON object.

    They are `delay_seconds` ([least, most], or null to hold webhooks), `twice` (a probability), `without_change` and
    `normalizes`; see `Webhooks` and `StripeSimulator`.
    """

    async def tell(_request: web.Request) -> web.Response:
        return web.json_response(_settings(stripe))

    async def change(request: web.Request) -> web.Response:
        try:
            _change(stripe, await _json(request, "settings"))
        except _BadFieldError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(_settings(stripe))

    return [web.get("/_sandbox/settings", tell), web.post("/_sandbox/settings", change)]


class _BadFieldError(Exception):
    """The sentence for whoever sent it."""


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
        raise _BadFieldError(f"The body has to be a JSON object with {what}.")
    return body


def _fault(body: dict[str, Any]) -> Fault:
    _refuse_unknown(body, {"kind", "route", "times", "probability", "seconds"})
    if body.get("kind") not in _KINDS:
        raise _BadFieldError(f"kind has to be one of {', '.join(_KINDS)}.")
    route = body.get("route", "")
    if not isinstance(route, str):
        raise _BadFieldError('route has to be a string, a part of "METHOD /path".')
    times = body.get("times")
    if times is not None and (type(times) is not int or times < 1):
        raise _BadFieldError("times has to be a whole number from 1, or null for until it is switched off.")
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
        raise _BadFieldError(f"There is no field {', '.join(sorted(unknown))}.")


def _delay(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    wrong = _BadFieldError("delay_seconds has to be [least, most] in seconds, from 0 to 3600, or null.")
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
        raise _BadFieldError(f"{name} has to be true or false.")
    return value


def _number(body: dict[str, Any], name: str, default: float, *, most: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _BadFieldError(f"{name} has to be a number from 0 to {most:g}.")
    return float(value)
