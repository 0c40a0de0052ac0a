"""Training by distillation of part experts (sections 3.2 and 3.3 of the paper)."""
