"""Page pictures as nodes, fetched when somebody looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from llama_index.core.schema import ImageNode, NodeWithScore
from pydantic import BaseModel, PrivateAttr

from llama_cloud_chat import Attachment, ChatClient, Source, ToolRun


class PageImageNode(ImageNode):
    """A page picture of a source. It is fetched when it is first resolved; its address expires, so none is kept.

    `metadata` says which picture (`attachment_name`, `source_id`) of which file.
    """

    _attachment: Attachment = PrivateAttr()
    _client: ChatClient = PrivateAttr()
    _content: bytes | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, attachment: Attachment, client: ChatClient, **metadata: str | None) -> PageImageNode:
        """Return the node of a picture that `client` can fetch.

        Args:
            attachment: The picture.
            client: Who fetches it.
            **metadata: What else to say of it.
        """
        told = {key: value for key, value in {**asdict(attachment), **metadata}.items() if value is not None}
        identity = f"{attachment.source_id}/{attachment.attachment_name}"
        node = cls(id_=str(uuid5(NAMESPACE_URL, identity)), extra_info=told)
        node._attachment = attachment
        node._client = client
        return node

    def resolve_image(self) -> BytesIO:
        """Return the picture.

        Raises:
            ChatError: It cannot be fetched.
        """
        if self._content is None:
            self._content = self._client.download(self._attachment)
        return BytesIO(self._content)

    def __setstate__(self, state: dict[str, Any]) -> None:
        BaseModel.__setstate__(self, state)  # LlamaIndex would call the constructor, which knows no private state

    async def aresolve_image(self) -> BytesIO:
        """Return the picture, without blocking the event loop while it is fetched."""
        return await asyncio.to_thread(self.resolve_image)


def page_images(run: ToolRun, sources: Sequence[Source], client: ChatClient) -> Iterator[NodeWithScore]:
    """Yield the page pictures that a tool's result names, each once."""
    seen: list[Attachment] = []
    pictures = [(one, source.file_name, source.score) for source in sources for one in source.attachments]
    if run.image_attachment is not None:
        pictures.append((run.image_attachment, None, None))
    for attachment, file_name, score in pictures:
        if attachment not in seen:
            seen.append(attachment)
            node = PageImageNode.of(attachment, client, file_name=file_name, tool_call_id=run.call_id)
            yield NodeWithScore(node=node, score=score)
