"""What lies in a data set, as a table and as a page."""
