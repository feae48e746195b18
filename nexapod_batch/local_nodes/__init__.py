"""The nodes of this machine, as their owner sees and limits them: files in the spool, and no coordinator."""
