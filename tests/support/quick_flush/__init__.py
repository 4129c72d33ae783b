"""An app of the tests alone: a `flush` that empties the database in milliseconds."""
