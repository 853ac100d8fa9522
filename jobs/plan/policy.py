"""What an operator has decided: how far a sync may go where both sides do not agree by themselves."""

from dataclasses import dataclass
from typing import Literal

WithoutLink = Literal["create", "link-only", "report"]
ReceiptsMode = Literal["mirror", "open", "recover"]
WhenMissing = Literal["dead-letter", "create"]


@dataclass(frozen=True)
class Policy:
    """The settings that a plan depends on.

    `when_unlinked` and `when_gone`: create a Stripe customer where none is ours, only link the one that is, or only
    report. `when_missing`: what becomes of a change of a customer that Autumn does not know. `metadata_keys` are
    copied to Stripe. `receipts`: show the flag only, set the address on payments that are still open, or mail the
    receipts of the last `recover_seconds` too.
    """

    when_unlinked: WithoutLink = "create"
    when_gone: WithoutLink = "create"
    when_missing: WhenMissing = "dead-letter"
    metadata_keys: tuple[str, ...] = ()
    receipts: ReceiptsMode = "mirror"
    recover_seconds: float = 86_400.0

    @property
    def reads_payments(self) -> bool:
        """Whether payments are read at all."""
        return self.receipts != "mirror"

    @property
    def reads_charges(self) -> bool:
        """Whether each payment is read with its charge, which takes one more permission.

        Only the charge tells when a payment succeeded and whether its receipt was mailed.
        """
        return self.receipts == "recover"
