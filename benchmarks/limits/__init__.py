"""How near matrix products, reductions and row-wise kernels come to the hardware's limits: ``python -m benchmarks limits``.

`command` reads the command line and prints the table; `contest` says how contenders are timed; each other module measures
some of the table's lines.
"""
