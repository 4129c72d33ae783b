"""Following an answer from any process, as JSON events for programs and as HTML for the page."""
