"""A turn as a page reads it, and a conversation as a page sends it: the AI SDK's UI messages.

`writer` turns events into the protocol's frames and `reader` a request into messages, both without I/O; `shells` feed
the writer from a stream of either colour.
"""
