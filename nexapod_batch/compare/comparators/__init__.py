"""The comparators, one module each, named as its line in `model.job.Comparator`; each has its `COMPARISON`."""
