"""The worker of a node: claims launches, feeds executors, and sees to it that nothing outlives them."""
