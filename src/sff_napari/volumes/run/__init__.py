"""Run tasks over a volume: executors, the result's folder, its lock, errors and cancellation."""
