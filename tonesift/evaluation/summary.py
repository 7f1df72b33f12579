"""What of an evaluation is written down: the few figures of `metrics.json`, and the tables beside it."""

from statistics import fmean

from tonesift.evaluation import comparison, tables
from tonesift.evaluation.comparison import Row
from tonesift.evaluation.run import Result
from tonesift.metrics import rounded

NOTHING = 1e-9  # R² that is rounding errors alone: nothing to learn


def summary(result: Result, best_filter: float | None) -> dict[str, dict[str, float]]:
    """The few figures that experiments are compared by (`test.r2`, `limit.share`, ...): what `metrics.json` holds.

    Where no limit is known there is `bound` in its place, or nothing.
    """
    names, tones = ("r2", "mse", "correlation", "snr_gain_db", "train_ratio"), result.tones
    test = {name: tones[0][name] for name in names} | {"worst_tone_mse": max(tone["mse"] for tone in tones[1:])}
    test["latency_ms"] = rounded(result.latency_ms)
    content = {"test": test}
    for row in result.own[1:]:  # the limit, or a bound, or none
        best = comparison.figures(row, result.task)["r2"]
        best = 0.0 if abs(best) < NOTHING else best
        content[row.name] = {"r2": best} | ({"share": rounded(test["r2"] / best)} if best > 0 else {})
    content |= result.settled
    if result.members:
        content["members"] = {"r2": rounded(fmean(result.members)), "best_r2": rounded(max(result.members))}
    return content | ({} if best_filter is None else {"best_filter": {"r2": best_filter}})


def comparison_table(result: Result, others: list[Row]) -> tables.Table:
    """Every estimator; the network's R^2 are those of the other tables, over the very samples it was judged on."""
    rows = comparison.table([*result.own, *others], result.task)
    ours = next(row for row in rows if row["name"] == "network")
    keys = ("r2", *(f"r2_tone_{number}" for number in range(1, len(result.tones))))
    ours |= {key: tone["r2"] for key, tone in zip(keys, result.tones, strict=True)}
    ours |= {"r2_settled": result.settled["settled"]["r2"]} if result.settled else {}
    return rows


def context_table(result: Result, others: list[Row]) -> tables.Table:
    """R^2 at each sample since the start, a column for each estimator that is drawn; the limit's is there always."""
    curves = comparison.curves([*result.own, *others], result.task)
    points = [dict(zip(curves, map(rounded, values), strict=True)) for values in zip(*curves.values(), strict=True)]
    return [{"position": at, "network": "", "limit": "", **point} for at, point in enumerate(points, 1)]
