"""One replica from its staged folder to the signed line about it."""
