"""Full-text search over a user's titles and messages, of all branches, live answers included.

`words` says what a word is, `queries` what was asked for, `index` keeps the index, `sqlite` and `postgres` are how each
database looks words up, `hits` finds and ranks, `excerpts` shows where. It stands below `chat.tools`, because models
search too.
"""
