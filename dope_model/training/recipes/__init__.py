"""How weights are made: one recipe a file; see `dope_model.training.recipe`."""
