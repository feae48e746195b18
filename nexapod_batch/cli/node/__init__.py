"""Commands about nodes, and about this machine as a node."""
