"""Commands about jobs of a coordinator elsewhere (`NEXAPOD_URL`, `--url`), through its server."""
