"""Score a file of predictions as SQuAD's official scripts do: exact match and F1, of version 1.1 or 2.0.

    python scripts/squad_score.py dev-v1.1.json predictions.json
    python scripts/squad_score.py dev-v2.0.json predictions.json --null-odds null_odds.json

A dataset with questions that have no answer is scored as version 2.0. The figures equal those of evaluate-v1.1.py and
evaluate-v2.0.py to the last digit. They are printed as a table, then as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from lab.errors import LabError
from lab.tasks.question_answering.data.squad import is_version_2, read_null_odds, read_predictions, read_questions
from lab.tasks.question_answering.scoring import Scores, score


def main() -> None:
    """Read both files, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a file of SQuAD's layout")
    parser.add_argument("predictions", help="a json object from the id of each question to its answer")
    parser.add_argument("--null-odds", help="a json object from each id to how much likelier no answer is (2.0)")
    parser.add_argument("--null-threshold", type=float, default=1.0, help="odds above which a question has no answer")
    parser.add_argument("--version", choices=("1.1", "2.0"), help="score as this one, whatever the questions are")
    arguments = parser.parse_args()
    try:
        questions = read_questions(arguments.dataset)
        predictions = read_predictions(arguments.predictions)
        odds = None if arguments.null_odds is None else read_null_odds(arguments.null_odds)
        lacking = [name for name in predictions if odds is not None and name not in odds]
        if lacking:
            raise LabError(f"{arguments.null_odds} has no entry of {lacking[0]!r}, which {arguments.predictions} has")
    except LabError as error:
        sys.exit(f"error: {error}")
    version_2 = is_version_2(questions) if arguments.version is None else arguments.version == "2.0"
    if odds is not None and not version_2:
        sys.exit("error: --null-odds is of version 2.0, and every question of the dataset has an answer")
    found = score(questions, predictions, version_2, odds, arguments.null_threshold)
    _print(found, "2.0" if version_2 else "1.1", len(questions))


def _print(found: Scores, version: str, count: int) -> None:
    table = Table(title=f"SQuAD {version}, {found.total} questions", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in found.values.items():
        table.add_row(name, f"{value:.3f}")
    Console().print(table)
    if found.missing:
        effect = "they count as wrong" if version == "1.1" else "as the official script does, the means leave them out"
        print(f"{found.missing} of {count} questions have no prediction: {effect}")
    if found.unknown:
        print(f"{found.unknown} predictions are of no question of the dataset: ignored")
    counts = {"version": version, "total": found.total, "missing": found.missing, "unknown": found.unknown}
    print(json.dumps({**found.values, **counts}))


if __name__ == "__main__":
    main()
