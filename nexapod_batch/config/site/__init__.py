"""Site files: TOML to frozen sites, and what a backend's own tables may hold."""
