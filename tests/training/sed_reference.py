"""Writes `sed_reference.json`: scores, events, and what sed_eval 0.2.1 and sed_scores_eval 0.0.4 say of them.

Those packages need `setuptools<81 pandas<3 numpy<2.4`, so they have an environment of their own, and tests read the
file: `python tests/training/sed_reference.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

LABELS = ("bark", "alarm", "rain")
COLUMNS, COLUMN, LEAD = 60, 0.5, 0.2
PSDS1 = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_st": 1.0}
PSDS2 = {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0}
MEAN = {**PSDS2, "alpha_st": 0.0}
THRESHOLD = 0.505
COLLAR, SHARE = 0.5, 0.5


def edges() -> np.ndarray:
    """Where columns begin, in seconds; the first one before the recording."""
    return np.round(np.clip(np.arange(COLUMNS + 1) * COLUMN - LEAD, 0, None), 6)


def recordings(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Events, and scores that follow them more or less, with confusions and ties."""
    made = []
    for _ in range(count):
        events, scores = [], 0.35 * rng.random((COLUMNS, len(LABELS))) ** 3
        for label in range(len(LABELS)):
            first = 0
            for _ in range(int(rng.integers(0, 4))):
                first += int(rng.integers(3, 15))
                length = int(rng.integers(1, 12))
                if first + length >= COLUMNS:
                    break
                shift = rng.uniform(-0.5, 0.5, 2)
                onset, offset = max(0, first * COLUMN - LEAD + shift[0]), (first + length) * COLUMN - LEAD + shift[1]
                events.append((LABELS[label], round(onset, 3), round(max(offset, onset + 0.2), 3)))
                heard = label if rng.random() < 0.85 else int(rng.integers(len(LABELS)))
                scores[first : first + length, heard] += rng.uniform(0.25, 0.8)
                if rng.random() < 0.3:
                    scores[first : first + length, (label + 1) % len(LABELS)] += rng.uniform(0.1, 0.4)
                first += length
        made.append({"events": sorted(events), "scores": np.round(np.clip(scores, 0, 1), 2).tolist()})
    return made


def found(recording: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Runs of columns above the threshold."""
    at, runs = edges(), []
    for label, name in enumerate(LABELS):
        above = np.concatenate(([False], np.array(recording["scores"])[:, label] > THRESHOLD, [False]))
        starts, stops = np.flatnonzero(np.diff(above.astype(int))).reshape(-1, 2).T
        runs += [(name, float(at[start]), float(at[stop])) for start, stop in zip(starts, stops, strict=True)]
    return runs


def psds(made: list[dict[str, Any]]) -> dict[str, object]:
    """What sed_scores_eval gives."""
    from sed_scores_eval import intersection_based  # noqa: PLC0415
    from sed_scores_eval.base_modules.scores import create_score_dataframe  # noqa: PLC0415

    names = [str(i) for i in range(len(made))]
    scores = {
        n: create_score_dataframe(np.array(r["scores"]), edges(), LABELS) for n, r in zip(names, made, strict=True)
    }
    truth = {n: [(on, off, label) for label, on, off in r["events"]] for n, r in zip(names, made, strict=True)}
    durations = dict.fromkeys(names, float(edges()[-1]))
    result: dict[str, object] = {}
    for name, settings in (("psds1", PSDS1), ("psds2", PSDS2), ("mean", MEAN)):
        value, by_label, *_ = intersection_based.psds(scores, truth, durations, **settings)
        result[name] = {"all": float(value), "labels": {label: float(by_label[label]) for label in LABELS}}
    return result


def events(made: list[dict[str, Any]]) -> dict[str, object]:
    """What sed_eval gives: true positives, found and real events by label."""
    from sed_eval.sound_event import EventBasedMetrics  # noqa: PLC0415

    result: dict[str, object] = {}
    for name, offset in (("onset_offset", True), ("onset", False)):
        metrics = EventBasedMetrics(
            list(LABELS),
            evaluate_offset=offset,
            t_collar=COLLAR,
            percentage_of_length=SHARE,
            event_matching_type="optimal",
        )
        for recording in made:
            real, runs = (
                [{"event_label": label, "onset": on, "offset": off, "file": "a"} for label, on, off in rows]
                for rows in (recording["events"], found(recording))
            )
            metrics.evaluate(real, runs)
        counts = {k: {n: int(v[n]) for n in ("Ntp", "Nsys", "Nref")} for k, v in metrics.class_wise.items()}
        result[name] = {"f1": float(metrics.overall_f_measure()["f_measure"]), "labels": counts}
    return result


def main() -> None:
    """Write the file."""
    made = recordings(np.random.default_rng(4), 14)
    content = {
        "labels": LABELS,
        "edges": edges().tolist(),
        "threshold": THRESHOLD,
        "psds": psds(made),
        "events": events(made),
        "recordings": made,
    }
    text = json.dumps(content, separators=(",", ":"))
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
