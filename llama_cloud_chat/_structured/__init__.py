"""Values of a schema from an agent that only talks: asked for in the prompt, found in the answer, repaired once."""
