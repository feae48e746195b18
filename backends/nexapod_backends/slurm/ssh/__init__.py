"""A cluster that is reached over SSH: logging in, commands by channels, files by SFTP."""
