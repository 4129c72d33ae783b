"""Conversations: how turns are begun and changed, and what of a conversation a model is asked."""
