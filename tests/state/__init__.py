"""State directories that releases of certagent left behind, and what this one makes of them."""
