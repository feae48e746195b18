"""Archives of jobs: one bag that holds all that a verdict rests on, made, looked at, checked, and reproduced."""
