"""The kinds of problem, one package each: task, data, metrics, prediction, pictures."""
