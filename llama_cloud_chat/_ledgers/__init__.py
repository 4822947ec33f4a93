"""Notes of what was asked: ledgers for a process, a machine, or many.

`_session.ledger` says what a ledger is and why its notes survive; here are its files and connections.
"""
