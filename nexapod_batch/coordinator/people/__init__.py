"""People who use the coordinator from elsewhere: their tokens."""
