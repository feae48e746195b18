"""What a TOML file may hold: kinds of values, tables of keys, the faults of a file, units. Needs no configuration."""
