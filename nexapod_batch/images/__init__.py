"""Container images: from what a descriptor names to one file, named by its SHA-256.

Whatever the source, an image becomes one SIF file in a cache folder. It is there whole or not at all, it is fetched
once however many ask for it, and what was fetched was checked against every digest that was known beforehand.
"""
