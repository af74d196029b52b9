"""Files behind a URL: how they are found, asked for, asked for again, and kept."""
