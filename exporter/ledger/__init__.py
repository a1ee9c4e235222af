"""The ledger: the only state. Quantities, charges and positions, appended or replaced in one transaction each.

`Ledger` (store.py) is the door; `snapshot` holds the values it hands to the pure maths.
"""

from exporter.ledger.store import Increment, Ledger, LedgerBusyError, LedgerUnwritableError

__all__ = ["Increment", "Ledger", "LedgerBusyError", "LedgerUnwritableError"]
