"""Conversations to look at: in a notebook, as a page of their own, live or afterwards.

    from llama_cloud_chat.notebook import show

    show(session)                                        # a session, a turn, an answer of either framework
    turn = show(session.stream("What is pydantic for?")) # as it is being answered

Everything that a service says is shown as text, never as markup, and what is shown fetches nothing by itself. The
extra `notebook` holds what this needs.

Who reads on: `_show` is what is called; `_transcript` reads whatever holds turns; `_render` makes HTML and Markdown of
them, with `templates/`, `_prose` for the answers' Markdown, `_citations` for which sources matter and `_excerpts` for
how much there is room for; `_pictures` fetches page pictures; `_display` is where a view appears, and `_live` keeps it
up to date.
"""

from llama_cloud_chat._extras import needing

with needing("Views need"):
    from ._show import ashow, show, to_html, to_markdown, to_mimebundle

__all__ = ["ashow", "show", "to_html", "to_markdown", "to_mimebundle"]
