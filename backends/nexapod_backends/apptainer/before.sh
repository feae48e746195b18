# Read in a container before the image's own environment: what HOME was told to be.
__nexapod_home=$HOME
