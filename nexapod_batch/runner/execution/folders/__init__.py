"""Where replicas work: their folders, temporary ones, and the room on their disk."""
