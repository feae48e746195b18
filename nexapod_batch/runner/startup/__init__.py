"""How a runner starts: the program, the fast way in, and what stands in for slow imports."""
