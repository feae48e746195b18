"""A real Apptainer, images small enough to build in a second, and a real registry."""
