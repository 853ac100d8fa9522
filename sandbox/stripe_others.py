"""Answers about other objects than the request was about, as a broken proxy or cache before Stripe gives them."""

from collections.abc import Mapping

from sandbox.stripe_errors import Json


def about_others(answer: Json, customers: Mapping[str, Json], payments: Mapping[str, Json]) -> Json:
    """Return the answer with another stored customer or payment intent in place of each one.

    The other one is the next in the order of creation. Empty lists and answers about anything else stay.

    Raises: LookupError if the account has no other object of the kind.
    """
    if answer["object"] in {"list", "search_result"}:
        return {**answer, "data": [about_others(each, customers, payments) for each in answer["data"]]}
    stored = {"customer": customers, "payment_intent": payments}.get(answer["object"])
    return answer if stored is None else _next(answer["id"], stored)


def _next(object_id: str, stored: Mapping[str, Json]) -> Json:
    ids = list(stored)
    others = [*ids[ids.index(object_id) + 1 :], *ids[: ids.index(object_id)]]
    if not others:
        raise LookupError(f"There is no other object than {object_id}.")
    return stored[others[0]]
