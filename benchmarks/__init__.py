"""Benchmarks: this loader beside real peers, on the same shards, in the same run.

`pytest benchmarks/` measures, prints a table with ratios, and writes `results/latest.json` and
`results/latest.png`. Options: `--data ROOT`, `--workers N`, `--locations N`, `--rounds N`,
`--seconds S`, `--results DIR`.

How a figure is made: rounds of all contestants are interleaved; a round opens a stream, throws away
what was fetched ahead, then times a fixed number of batches. A figure is the median over the rounds
with its interquartile range, and a ratio is median over median of one run. Batches are checked, in
every round, outside of the timed part. The page cache is warm: every shard is read once before.
"""
