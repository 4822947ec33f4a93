"""From a prompt to its answer: what to ask on which session, when, and what to do if the line breaks.

Nothing here does I/O: what takes more than one request is a generator that yields what it needs done.
"""
