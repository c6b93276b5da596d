"""Training: losses as divergences, the loop that yields, averages of weights, and state that survives a kill."""
