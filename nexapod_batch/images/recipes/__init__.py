"""Images built from recipes: Dockerfiles and definition files."""
