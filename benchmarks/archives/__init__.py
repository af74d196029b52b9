"""Every layout on disk: unconverted, packed, and as its users read it today."""
