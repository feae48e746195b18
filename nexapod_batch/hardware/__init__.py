"""Edges to the hardware: what a machine is made of, and how its GPUs are used. Nothing here keeps anything.

Drivers are asked through their own libraries and files, and only where these are there: a machine without a GPU loads
nothing of it.
"""
