"""Speaks HTTP and keeps sessions."""
