"""Conversations to look at: in a notebook, as a page of their own, live or afterwards.

    from llama_cloud_chat.notebook import show

    show(session)                                        # a session, a turn, an answer of either framework
    turn = show(session.stream("What is pydantic for?")) # as it is being answered

Everything that a service says is shown as text, never as markup, and what is shown fetches nothing by itself. The
extra `notebook` holds what this needs.
"""

from ._show import ashow, show, to_html, to_markdown, to_mimebundle

__all__ = ["ashow", "show", "to_html", "to_markdown", "to_mimebundle"]
