"""Replicas of several ranks: started by a launcher, measured by the accounting of its scheduler."""
