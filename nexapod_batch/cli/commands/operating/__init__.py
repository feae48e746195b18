"""Commands of those who operate an installation: passes, monitoring, databases, the ledger, who used how much."""
