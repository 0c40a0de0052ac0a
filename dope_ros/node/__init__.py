"""dope_node: the node, its parameters, its diagnostics, and how its process starts and ends."""
