"""A file of prompts, worked through without a conversation (`manage.py complete_batch`)."""
