"""Documents as text for people or as JSON: lines, terminals, progress."""
