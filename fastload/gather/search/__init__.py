"""Which scenes: services, what their catalogues have, and the rules that choose."""
