"""Many questions, each asked once, whatever dies in the middle.

`threads` and `tasks` are what users call; what they have in common is in `run` and `lanes`. `filed` does the same from
file to file.
"""
