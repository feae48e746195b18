"""Keeping what there is: backups, damaged databases, and removing what nobody needs any more."""
