# Read in a container after the image's own environment, which has no say in HOME.
HOME=$__nexapod_home
export HOME
unset __nexapod_home
