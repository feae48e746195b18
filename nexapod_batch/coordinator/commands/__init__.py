"""What people order: submit, cancel, hold, retry, reconcile, collect garbage, check a site."""
