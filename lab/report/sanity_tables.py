"""Tables of what was found in a data set, for the terminal and for a page. No torch."""

from __future__ import annotations

from lab.report.sanity import CHECKS, NOT_LOOKED_AT, Finding, SanityReport


def finding_rows(report: SanityReport) -> list[dict[str, str]]:
    """Return a row for each thing that was looked for, with a column for each split."""
    looks = report.looks
    rows = [
        {"": "samples", **{look.split: f"{look.samples:,}" for look in looks}},
        {"": "read", **{look.split: "all" if look.is_whole else f"{look.read:,}" for look in looks}},
    ]
    names = list(dict.fromkeys(name for look in looks for name in look.findings))
    order = {name: CHECKS.index(look.findings[name].check) for look in looks for name in look.findings}
    for name in sorted(names, key=lambda name: order[name]):
        rows.append({"": name, **{look.split: shown_count(look.findings.get(name)) for look in looks}})
    for name, finding in report.between.items():
        row = dict.fromkeys(["", *(look.split for look in looks)], "")
        rows.append({**row, "": name, name.split(" ", 1)[0]: shown_count(finding)})
    unmade: dict[str, str] = {}
    for look in looks:
        unmade |= look.not_looked_at()
    for check, why in unmade.items():
        said = {look.split: NOT_LOOKED_AT if check in look.not_looked_at() else "looked at" for look in looks}
        rows.append({"": f"{check} ({why})" if why else check, **said})
    return rows


def shown_count(finding: Finding | None) -> str:
    """Return a count, or that there is none."""
    return NOT_LOOKED_AT if finding is None else f"{finding.count:,}"


def example_rows(report: SanityReport) -> list[dict[str, str]]:
    """Return a row for each thing that was found, with the names of the first samples."""
    rows = [
        {"found": name, "split": look.split, "count": f"{finding.count:,}", "first": ", ".join(finding.examples)}
        for look in report.looks
        for name, finding in look.findings.items()
        if finding.count
    ]
    rows += [
        {"found": name, "split": "", "count": f"{finding.count:,}", "first": ", ".join(finding.examples)}
        for name, finding in report.between.items()
        if finding.count
    ]
    return rows


def class_rows(report: SanityReport, width: int = 24, most: int = 30) -> list[dict[str, str]]:
    """Return a row for each class with its count in each split and a bar for the first one; the rarest are kept.

    Args:
        report: of the data.
        width: of the bar of the most frequent class, in characters.
        most: rows; of more classes the most frequent and the rarest half are shown.
    """
    counted = [look for look in report.looks if look.classes is not None]
    if not counted:
        return []
    first = counted[0].classes or {}
    names = list(dict.fromkeys(name for look in counted for name in look.classes or {}))
    names.sort(key=lambda name: -first.get(name, 0))
    left = max(0, len(names) - most)
    shown = names if not left else [*names[: most // 2], *names[-(most - most // 2) :]]
    top = max(1, *(first.get(name, 0) for name in names))
    rows = []
    for number, name in enumerate(shown):
        if left and number == most // 2:
            rows.append({"class": f"({left} more)", **{look.split: "" for look in counted}, counted[0].split + " ": ""})
        counts = {look.split: f"{(look.classes or {}).get(name, 0):,}" for look in counted}
        rows.append({"class": name, **counts, counted[0].split + " ": bar(first.get(name, 0) / top, width)})
    return rows


def bar(share: float, width: int) -> str:
    """Return a bar of characters; something that is more than nothing has at least an eighth of one."""
    eighths = max(int(share * width * 8), int(share > 0))
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def number_rows(report: SanityReport) -> list[dict[str, str]]:
    """Return a row for each size or length of each split, with its quantiles."""
    rows = []
    for look in report.looks:
        for name, numbers in look.numbers.items():
            summary = numbers.summary()
            if summary:
                rows.append(
                    {"what": name, "split": look.split, **{key: f"{value:.4g}" for key, value in summary.items()}}
                )
    return sorted(rows, key=lambda row: row["what"])
