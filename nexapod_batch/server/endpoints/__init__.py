"""The endpoints, by subject: a handler for each, and the routes that lead there."""
