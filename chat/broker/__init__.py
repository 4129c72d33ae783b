"""The live log of answers that followers read: in memory for one process, in Redis for many."""
