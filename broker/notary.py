"""Draw up the receipt of a call that has ended."""

from broker.core.call import Call
from broker.core.receipt import ReceiptDraft
from broker.core.receipt_draft import BrokerFacts, draft
from broker.core.sandbox import Enforced, Report
from broker.people import People


class Notary:
    """Know what every receipt of this broker says; the store seals what is drawn up here."""

    def __init__(self, facts: BrokerFacts, people: People) -> None:
        self._facts = facts
        self._people = people

    def draft(
        self, call: Call, *, enforced: Enforced | None = None, report: Report | None = None
    ) -> ReceiptDraft:
        """Draw up the receipt of a final call.

        Args:
            enforced: What was read back from its container, where it got one.
            report: How the run ended, where there was one.
        """
        return draft(
            call,
            broker=self._facts,
            roles=self._people.roles(call.agent),
            owner=self._people.owner(call.agent),
            enforced=enforced,
            report=report,
        )
