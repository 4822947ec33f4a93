"""Many questions, each asked once, whatever dies in the middle; from lists, and from file to file."""
