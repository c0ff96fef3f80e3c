"""A user's script, which mypy reads with lab itself and as strictly as ``--strict``; nothing runs it.

What a user gets wrong stands at the end: an ``ignore`` of an error that mypy does not find is an error itself.
"""

# mypy: disallow-any-generics, disallow-subclassing-any, disallow-untyped-calls, disallow-untyped-defs
# mypy: disallow-incomplete-defs, check-untyped-defs, disallow-untyped-decorators, warn-return-any, strict-equality
# mypy: no-implicit-reexport, warn-unused-ignores, extra-checks
from pathlib import Path

import lab


class Report:
    def __init__(self, folder: Path) -> None:
        self.runs: lab.Runs = lab.runs(folder)

    def best(self) -> float:
        return max(run.result["test/map"] for run in self.runs)


config: lab.Config = lab.compose("model=detr_tiny", trainer={"max_steps": 4})
run: lab.Run = lab.fit(config, "seed=1", data={"batch_size": 4})
rate: float = config.optimizer.lr
words: tuple[str, ...] = run.words
loss = run.metrics["train/loss"].mean()
tested: dict[str, float] = lab.test(run, config_dir="mine").result
validated: lab.Evaluation = lab.validate(run.best)
folder: Path = lab.predict(run, "photos", "callbacks.progress=false")
found = lab.load(run, device="cpu").predict("photos/a.png")
last: Path = run.checkpoints["last"]
try:
    lab.check(config)
except lab.LabError as error:
    print(error, config.to_yaml(), Report(Path("runs")).best())

lab.fit(3)  # type: ignore[arg-type]
lab.load("x", devise="cpu")  # type: ignore[call-arg]
seed: int = lab.read_run("x").state  # type: ignore[assignment]
lab.runs().frames()  # type: ignore[attr-defined]
