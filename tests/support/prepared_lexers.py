"""Has the lexers of code blocks ready once imported: building them takes a server 0.4 s of CPU time at its start."""

from __future__ import annotations

from chat.rendering.highlight import prepare_lexers

prepare_lexers()
