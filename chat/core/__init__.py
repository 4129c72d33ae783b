"""Pure values that everything else speaks of: events, errors, transcripts. The standard library only."""
