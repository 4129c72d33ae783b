"""Streaming Markdown: a model's text as safe HTML, the same whether it is streamed or loaded."""
