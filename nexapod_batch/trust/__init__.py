"""What is signed and how it is checked: keys, DSSE envelopes, statements, bundles. Pure: bytes in, nouns out."""
