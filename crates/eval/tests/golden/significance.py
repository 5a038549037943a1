"""Makes significance.json beside it: the same tests by scipy. Run again with: pip install numpy scipy; python significance.py

Made with the versions that it writes into the file.
"""
import json
import pathlib
import warnings

import numpy as np
import scipy
from scipy import stats

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)


def wilcoxon(d, zero_method):
    kept = d if zero_method == "pratt" else d[d != 0]
    tied = len(np.unique(np.abs(kept))) < len(kept)
    exact = len(kept) <= 50 and not tied and not (kept == 0).any()
    found = stats.wilcoxon(d, zero_method=zero_method, correction=True, method="exact" if exact else "approx")
    return {"statistic": float(found.statistic), "p": float(found.pvalue), "exact": bool(exact)}


def case(name, d):
    d = np.asarray(d, dtype=float)
    t = stats.ttest_1samp(d, 0.0)
    return {
        "name": name,
        "differences": d.tolist(),
        "t": float(t.statistic),
        "t_p": float(t.pvalue),
        "drop": wilcoxon(d, "wilcox"),
        "pratt": wilcoxon(d, "pratt"),
    }


cases = [
    case("seven without ties", [0.3, -0.1, 0.55, 0.7, -0.25, 0.9, 0.45]),
    case("forty without ties", rng.normal(0.2, 1, 40).round(6)),
    case("sixty without ties", rng.normal(0.3, 1, 60).round(6)),
    case("thirty with ties and zeros", rng.integers(-3, 5, 30) / 4),
    case("three hundred, mostly zeros", rng.choice([0, 0, 0, 0, 0.5, -0.5, 1, 1 / 3], 300).round(6)),
    case("no difference to speak of", rng.normal(0, 1, 200).round(6)),
]
points = [(0.1, 1), (12.7, 1), (1e6, 1), (2.0, 2), (2.5, 4), (0.0, 5), (1e-6, 9), (1.96, 30), (5.0, 100), (0.3, 942), (-3.3, 942), (1.9, 29857), (12.0, 29857), (37.0, 29857)]
out = {
    "made_with": {"scipy": scipy.__version__, "numpy": np.__version__},
    "cases": cases,
    "t_two_sided": [[t, df, float(2 * stats.t.sf(abs(t), df))] for t, df in points],
}
pathlib.Path(__file__).with_name("significance.json").write_text(json.dumps(out, indent=1) + "\n")
