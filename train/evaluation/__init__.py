"""What a checkpoint can do: suites of tasks, their metrics with uncertainty, and the gate between stages."""
