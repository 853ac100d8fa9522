"""What the worker does: the nouns, the pure decisions, one door to each service, and the jobs themselves."""
