"""Who answers: the agent without a model, scripted ones, and any model of either framework."""
