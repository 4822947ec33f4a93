"""How often the agent without a model answers rightly, or says that it cannot: `python -m benchmarks.answers`."""
