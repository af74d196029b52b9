"""The peers: what people run today, written as well as each library allows.

One file a peer. Each says what it does and what its library cannot do.
"""
