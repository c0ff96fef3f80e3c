"""The MLflow run of a run directory: in a local folder by default, or wherever a tracking address points.

MLflow's own client is used: Lightning's logger cuts params at 250 characters, lets two jobs that start together make
two experiments of one name, changes MLflow's address for the whole process, and ends a run after each stage.
``mlflow.json`` in the run directory keeps the run's id.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from lab.config.flattening import flat
from lab.loggers.tracker import Tracker
from lab.system.files import write_text

STATE_FILE = "mlflow.json"
STATUS = {"finished": "FINISHED", "pruned": "FINISHED", "interrupted": "KILLED"}
"""MLflow's word for a state of the run directory; any other state is FAILED."""
LONGEST_VALUE, LONGEST_KEY = 6000, 250
"""MLflow's limits on params, in characters."""
_PARAMS_AT_ONCE, _METRICS_AT_ONCE = 100, 1000
_REFUSED = re.compile(r"[^/\w.\- :]")
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would ask a server of its makers at import
    "MLFLOW_ALLOW_FILE_STORE": "true",  # MLflow 3.17 refuses a folder without it
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own are 7, with longer and longer pauses
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def choose_store(tracking_uri: str | None, runs_dir: str) -> str:
    """Return the address that is set, that of MLflow's environment variable, or a folder beside the runs."""
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or str(Path(runs_dir) / "mlflow")


class MlflowRun(Tracker):
    """One MLflow run for each run directory; a repeated command continues it under the same id.

    Args:
        run_dir: the run directory.
        store: a folder, or an address such as ``sqlite:///mlflow.db`` or that of a server.
        experiment: the MLflow experiment; it is made if it is missing.
        config: the resolved config; its dotted keys are the params.
        tags: MLflow's tags, names and texts.
    """

    label = "MLflow"

    def __init__(
        self,
        run_dir: str | Path,
        store: str | Path,
        experiment: str = "lab",
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(run_dir)
        self.store, self.experiment = str(store), experiment
        self._config, self._tags = dict(config or {}), dict(tags or {})
        self._client: Any = None
        self._id = ""

    @property
    def version(self) -> str:
        """The MLflow run's id; empty before ``begin``."""
        return self._id

    def _open(self, step: int, monitor: str) -> dict[str, int]:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        folder = Path(self.store) if "://" not in self.store else None
        with _alone(folder):
            self._client = MlflowClient(folder.absolute().as_uri() if folder else self.store)
            run = self._continued() or self._created()
        self._id = run.info.run_id
        write_text(self.run_dir / STATE_FILE, json.dumps({"id": self._id}) + "\n")
        self._client.update_run(self._id, status="RUNNING")
        self._client.set_tag(self._id, "lab_monitor", monitor)
        self._log_params(run.data.params)
        return {name: self._last_step(name) for name in run.data.metrics}

    def _continued(self) -> Any:
        """Return the run that ``mlflow.json`` names; None if there is none, or this store does not have it."""
        from mlflow.exceptions import MlflowException

        path = self.run_dir / STATE_FILE
        try:
            run = self._client.get_run(str(json.loads(path.read_text(encoding="utf-8"))["id"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{path} is damaged ({error}): this run becomes a new MLflow run", stacklevel=2)
            return None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _created(self) -> Any:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                number = self._client.create_experiment(self.experiment)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another job on another machine was faster
                    raise
                number = self._client.get_experiment_by_name(self.experiment).experiment_id
        else:
            number = found.experiment_id
        return self._client.create_run(number, run_name=self.run_dir.name, tags=self._tags)

    def _last_step(self, name: str) -> int:
        return max(metric.step for metric in self._client.get_metric_history(self._id, name))

    def _log_params(self, known: Mapping[str, str]) -> None:
        """Log the params that the run does not have; MLflow changes none that it has."""
        from mlflow.entities import Param

        given = {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat(self._config)}
        usable = {key: value for key, value in given.items() if len(key) <= LONGEST_KEY and not _REFUSED.search(key)}
        cut = {key: value[:LONGEST_VALUE] for key, value in usable.items()}
        for part in _parts((Param(key, value) for key, value in cut.items() if key not in known), _PARAMS_AT_ONCE):
            self._client.log_batch(self._id, params=part)
        _say(f"cannot take the names of {{}} of {len(given)} settings", given.keys() - usable.keys())
        long = [key for key, value in usable.items() if len(value) > LONGEST_VALUE]
        _say(f"takes {LONGEST_VALUE} characters of a setting: {{}} cut", long)
        changed = [key for key in cut.keys() & known if known[key] != cut[key]]
        _say("keeps the first value of a setting: {} changed since", changed)

    def _spelled(self, name: str) -> str:
        return _REFUSED.sub(lambda found: f"_{ord(found.group()):x}_", name)

    def _write(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = (Metric(name, value, now, step) for name, value in values.items())
        for part in _parts(metrics, _METRICS_AT_ONCE):
            self._client.log_batch(self._id, metrics=part)

    def _close(self, state: str) -> None:
        self._client.set_tag(self._id, "lab_state", state)
        self._client.set_terminated(self._id, STATUS.get(state, "FAILED"))


def _say(what: str, keys: Iterable[str]) -> None:
    """Print a note on keys, with their number and the first of them; nothing if there are none."""
    names = sorted(keys)
    if names:
        more = ", ..." if len(names) > 3 else ""
        print(f"note: MLflow {what.format(len(names))} ({', '.join(names[:3])}{more}); config.yaml has them all")


def _parts(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


@contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """Context in which no other job makes the store or its experiment; a server sees to that itself."""
    if folder is None:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
