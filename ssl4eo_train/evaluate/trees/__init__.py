"""What the tasks share of reading their distributors' files."""
