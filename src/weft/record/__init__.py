"""Recording: how any mode but the eager one turns calls into a graph."""
