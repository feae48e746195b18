"""The GPUs of a node: found, handed out, measured, and left to their owner."""
