"""The frozen nouns: what a job, a node and a replica are. No I/O, no clock, no randomness."""
