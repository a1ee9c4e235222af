"""The ledger: the only state. Quantities, charges and positions, appended or replaced in one transaction each.

`store.Ledger` is the door; `snapshot` holds the values it hands to the pure maths.
"""
