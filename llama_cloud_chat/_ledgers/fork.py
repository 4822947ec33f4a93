"""What a ledger begins anew in the child of a fork."""

from llama_cloud_chat._fork import FreshInChild

__all__ = ["FreshInChild"]
