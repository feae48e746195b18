"""The node's side of a mesh: a machine that joined a coordinator elsewhere, calls it for work, and reports.

Nothing here imports the coordinator. Replicas are run by the ordinary worker, through the backend `local`.
"""
