"""Stripe's error answers, as exceptions that the simulator raises.

Only the form of an answer belongs here. Other modules decide when to raise it.
"""

from typing import Any

Json = dict[str, Any]


class StripeError(Exception):
    """An error answer. The simulator raises it; the client gets `status` and `body`."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None, **fields: str) -> None:
        """Make the body; `fields` are code, param, and type if it is not invalid_request_error."""
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        error = {"message": message, "type": "invalid_request_error", **fields}
        if "code" in error:
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{error['code'].replace('_', '-')}"
        self.body: Json = {"error": error}


def invalid(param: str, message: str, code: str = "parameter_invalid") -> StripeError:
    """A parameter with an invalid value."""
    return StripeError(400, message, code=code, param=param)


def unknown_parameter(param: str) -> StripeError:
    """A parameter that the endpoint does not have or that the simulator does not support."""
    return invalid(param, f"Received unknown parameter: {param}", "parameter_unknown")


def not_expandable(path: str) -> StripeError:
    """An `expand` path that names no object, or an object that the simulator does not support."""
    return StripeError(400, f"This property cannot be expanded ({path}).")


def missing(kind: str, object_id: str, *, param: str = "id", status: int = 404) -> StripeError:
    """A missing object; 404 if the path or a filter names it, 400 if the body does."""
    return StripeError(status, f"No such {kind}: '{object_id}'", code="resource_missing", param=param)


def rate_limited(reason: str) -> StripeError:
    """A request over a rate limit. Stripe names the limit but sends no Retry-After."""
    return StripeError(
        429,
        "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        headers={"Stripe-Rate-Limited-Reason": reason},
    )


def locked() -> StripeError:
    """A request whose object another request is writing now."""
    return StripeError(
        429,
        "This object cannot be accessed right now because another API request or Stripe process is currently "
        "accessing it. If you see this error intermittently, retry the request.",
        code="lock_timeout",
        headers={"Stripe-Rate-Limited-Reason": "resource-specific"},
    )


def unauthorized(key: str) -> StripeError:
    """A missing or wrong API key; the message has only its last characters."""
    if not key:
        return StripeError(
            401,
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        )
    return StripeError(401, f"Invalid API Key provided: {_masked(key)}")


def forbidden(key: str, account: str, permission: str) -> StripeError:
    """A restricted key without the permission. Stripe names the account's id; "" leaves it out."""
    on_account = f" on account '{account}'" if account else ""
    return StripeError(
        403,
        f"The provided key '{_masked(key)}' does not have the required permissions for this endpoint{on_account}. "
        f"Having the '{permission}' permission would allow this request to continue.",
    )


def broken(status: int) -> StripeError:
    """A failure of Stripe: 500 or 503."""
    message = "An unknown error occurred" if status == 500 else "Stripe is temporarily unavailable."
    return StripeError(status, message, type="api_error")


def key_too_long() -> StripeError:
    """An idempotency key of more than 255 characters."""
    return StripeError(400, "Idempotency keys must be 255 characters or less.")


def key_in_use(key: str) -> StripeError:
    """An idempotency key whose first request has no answer yet."""
    return StripeError(
        409,
        "There is currently another in-progress request using this Idempotent Key (that probably means you "
        f"submitted twice, and the other request is still going through): {key}. Please try again later.",
        code="idempotency_key_in_use",
    )


def key_reused(key: str, first: str, now: str) -> StripeError:
    """An idempotency key that was first used for another request; `first` and `now` are paths."""
    if first == now:
        what = "with the same parameters they were first used with."
    else:
        what = f"for the same endpoint they were first used for ('{now}' vs '{first}')."
    return StripeError(
        400,
        f"Keys for idempotent requests can only be used {what} Try using a key other than '{key}' if you "
        "meant to execute a different request.",
        type="idempotency_error",
    )


def no_such_url(method: str, path: str) -> StripeError:
    """A path or method that Stripe does not have or that the simulator does not support."""
    return StripeError(404, f"Unrecognized request URL ({method}: {path}).")


def _masked(key: str) -> str:
    return f"{key[:8]}{'*' * 8}{key[-4:]}" if len(key) > 12 else "*" * len(key)
