"""Users: who reads, whether they still may, and which models they may use."""
