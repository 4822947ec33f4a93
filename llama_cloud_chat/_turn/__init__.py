"""From bytes to a `Turn`: fed, pure, knowing neither sessions nor sockets."""
