"""How much each parameter of a sweep matters for a metric: Optuna's importance, and rank correlation. No torch.

Importance is PED-ANOVA (Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
Subspaces", 2023), the default of Optuna 5: how differently the best tenth of the runs is spread over a parameter's
values than all of them. Of fewer than 50 runs the best five count, as Optuna advises, but at most half of them: the
best run alone has one value of each parameter, which would make all parameters equally important. Correlation is
Spearman's; it has a sign, and sees only what rises or falls steadily.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lab.errors import ConfigError
from lab.report.columns import is_wide, numbers_of
from lab.report.html.page import Influence, ShownValue
from lab.sweeps.optuna_import import collecting, optuna

LEAST_RUNS = 8
"""Below this many runs nothing is said: chance alone would make a ranking."""
_LEAST_BEST = 5


def find_influences(
    points: Sequence[Mapping[str, ShownValue]], values: Sequence[float | None], keys: Sequence[str], lower: bool
) -> tuple[list[Influence], str]:
    """Return the influence of each parameter on a metric, the greatest first, and how it was computed or why not.

    Args:
        points: the parameters of each run.
        values: the metric of each run; None if it has none.
        keys: the parameters to compare.
        lower: whether a lower value of the metric is better.
    """
    there = [key for key in keys if all(key in point for point in points)]
    rows = [(point, value) for point, value in zip(points, values, strict=True) if value is not None]
    rows = [(point, value) for point, value in rows if math.isfinite(value)]
    there = [key for key in there if len({repr(point[key]) for point, _ in rows}) > 1]
    is_constant = len({value for _, value in rows}) == 1
    if len(rows) < LEAST_RUNS or not there or is_constant:
        what = "no parameter differs in all of them" if not there else "the metric is the same in all of them"
        if len(rows) < LEAST_RUNS:
            what = f"only {len(rows)} runs have this metric"
        return [], f"not computed: it takes {LEAST_RUNS} runs that differ, and {what}"
    found, note = _importances(rows, there, lower)
    influences = [Influence(key, found.get(key), _correlation(rows, key)) for key in there]
    influences.sort(key=lambda one: (-(one.importance or 0.0), -abs(one.correlation or 0.0), one.key))
    left = [key for key in keys if key not in there]
    return influences, note + (f"; without {', '.join(left)}, which not all of them set" if left else "")


def _importances(
    rows: Sequence[tuple[Mapping[str, ShownValue], float]], keys: Sequence[str], lower: bool
) -> tuple[dict[str, float], str]:
    try:
        library = optuna()
    except ConfigError:
        return {}, "importance needs Optuna (pip install 'lab[sweep]'): only correlations are shown"
    spaces = {key: _distribution(library, [point[key] for point, _ in rows]) for key in keys}
    said: dict[str, str] = {}
    with collecting(said):
        study = library.create_study(direction="minimize" if lower else "maximize")
        study.add_trials(
            [
                library.trial.create_trial(
                    value=value, params={key: _told(point[key], spaces[key]) for key in keys}, distributions=spaces
                )
                for point, value in rows
            ]
        )
        share = max(0.1, min(0.5, _LEAST_BEST / len(rows)))
        evaluator = library.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        found = library.importance.get_param_importances(study, evaluator=evaluator)
    best = math.ceil(share * len(rows))
    return dict(found), f"PED-ANOVA of Optuna {library.__version__}: the best {best} of {len(rows)} finished runs"


def _distribution(library: Any, values: Sequence[ShownValue]) -> Any:
    if numbers := numbers_of(values):
        return library.distributions.FloatDistribution(min(numbers), max(numbers), log=is_wide(values))
    choices = list(dict.fromkeys(map(str, values)))
    return library.distributions.CategoricalDistribution(choices)


def _told(value: ShownValue, space: Any) -> Any:
    return str(value) if hasattr(space, "choices") else float(value)  # type: ignore[arg-type]


def _correlation(rows: Sequence[tuple[Mapping[str, ShownValue], float]], key: str) -> float | None:
    values = [point[key] for point, _ in rows]
    if not numbers_of(values):
        return None
    import pandas as pd

    ranks = pd.Series(values, dtype="float64").rank()
    found = ranks.corr(pd.Series([value for _, value in rows], dtype="float64").rank())
    return None if math.isnan(found) else float(found)
