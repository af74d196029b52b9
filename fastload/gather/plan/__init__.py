"""Where and when: laws of sampling, patches that keep apart, windows of dates, the plan's file."""
