"""Job descriptors: TOML to a job, its inputs, arrays and overrides."""
