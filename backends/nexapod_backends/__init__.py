"""Built-in backends and runtimes, reached only through entry points."""
