"""The operator's policy: which repairs a sync may do by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.plan.customer import AutumnCustomer, StripeView

WithoutLink = Literal["create", "link-only", "report"]
ReceiptsMode = Literal["mirror", "open", "recover"]
WhenMissing = Literal["dead-letter", "create"]
Elsewhere = Literal["create", "report"]


@dataclass(frozen=True)
class Policy:
    """The settings that a plan depends on.

    - `when_unlinked`, `when_gone`: `create` links the Stripe customer that carries the id, or creates one;
      `link-only` never creates; `report` only reports.
    - `when_unlinked_elsewhere`: for an unlinked customer of other payment processors alone, `create` does the same as
      `when_unlinked`, and `report` only reports.
    - `when_missing`: the outcome of an event for a customer that Autumn does not know.
    - `metadata_keys`: the metadata keys that are copied to Stripe.
    - `receipts`: `mirror` only shows the flag in Stripe. `open` also sets the address on open payments. `recover` also
      mails the receipts of payments that succeeded in the last `recover_seconds`.
    """

    when_unlinked: WithoutLink = "create"
    when_gone: WithoutLink = "create"
    when_unlinked_elsewhere: Elsewhere = "report"
    when_missing: WhenMissing = "dead-letter"
    metadata_keys: tuple[str, ...] = ()
    receipts: ReceiptsMode = "mirror"
    recover_seconds: float = 86_400.0

    @property
    def reads_payments(self) -> bool:
        """True if the plan needs payments."""
        return self.receipts != "mirror"

    @property
    def reads_charges(self) -> bool:
        """True if each payment is read with its charge, which needs one more permission of the key.

        Only the charge shows when a payment succeeded and whether its receipt was mailed.
        """
        return self.receipts == "recover"

    def leaves_alone(self, autumn: AutumnCustomer) -> bool:
        """Return whether the customer stays unlinked because it is one of other payment processors alone."""
        return autumn.stripe_id is None and bool(autumn.elsewhere) and self.when_unlinked_elsewhere == "report"

    def how_to_link(self, elsewhere: Sequence[str], view: StripeView) -> str:
        """Return the sentence that says how an unlinked customer can be linked. It names the settings that forbid it.

        `elsewhere` are the other payment processors of a customer that Stripe has no part in.
        """
        event = "an event with the stripe_id of its Stripe customer"
        if not view.ours and not view.searched:
            return f"Send {event}"
        wanted = ("link-only", "create") if view.ours else ("create",)
        settings = []
        if elsewhere and self.when_unlinked_elsewhere == "report":
            settings.append("STRIPE_WHEN_UNLINKED_ELSEWHERE to create")
        if self.when_unlinked not in wanted:
            settings.append(f"STRIPE_WHEN_UNLINKED to {' or '.join(wanted)}")
        return f"Set {' and '.join(settings)} and restart the workers, or send {event}" if settings else f"Send {event}"
