"""The page of a result: its text, charts and example pictures."""
