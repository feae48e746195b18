"""What a coordinator and the nodes that joined it say to each other: signed requests, messages, and the mailbox.

Both sides use these modules: `agent` on the node, `server` and the backend of joined nodes on the coordinator's side.
"""
