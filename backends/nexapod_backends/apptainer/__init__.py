"""The runtime `apptainer`: the command runs in a container, by Apptainer or, where only that exists, Singularity."""
