"""The ledger: an append-only tree of what happened, whose signed heads a stranger can check without us.

The tree is that of RFC 6962, heads are C2SP checkpoints, proofs and tiles are as C2SP spells them. Everything here is
pure: where the nodes of the tree are kept is the caller's business.
"""
