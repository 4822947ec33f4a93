"""The only rooms with sockets."""
