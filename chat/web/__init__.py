"""Pages for people, and the probes for monitors."""
