"""What the agents search: files read, cut into passages, indexed, found again and shown."""
