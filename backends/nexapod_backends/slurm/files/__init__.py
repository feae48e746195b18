"""The folders and files of a site: inputs there; reports, outputs and logs here."""
