"""What the owner of a machine lets run on it, and a watch over that."""
