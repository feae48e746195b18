"""What the database file says of itself, and how long a connection waits for another."""

FILE_MAGIC = b"SQLite format 3\0"  # what every file of SQLite begins with
APPLICATION_ID = 0x6E78_7064  # "nxpd" in the file's header
BUSY_S = 10.0  # how long a statement waits for another connection's transaction
