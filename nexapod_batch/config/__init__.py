"""TOML files of people turned into typed nouns: job descriptors, settings, site files.

Every reader here is strict (unknown keys are refused with the nearest known one) and reports all faults of a file at
once. What a file may hold is said once, in a table of keys; checking, JSON Schema and the printed reference are all
derived from that table.
"""
