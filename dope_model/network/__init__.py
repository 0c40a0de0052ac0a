"""The network of section 3.1; a part expert is the same network with one part."""
