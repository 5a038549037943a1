"""A simulated log for the examples: users with latent tastes, who act on what is popular and to their taste."""

import numpy as np
import polars as pl


def log(users: int = 1500, items: int = 800, rows: int = 60_000, seed: int = 7) -> pl.DataFrame:
    """Columns: user_id (text), item_id (text), timestamp."""
    rng = np.random.default_rng(seed)
    taste, kind = rng.normal(size=(users, 24)) / 2, rng.normal(size=(items, 24))
    appeal = taste @ kind.T - 0.8 * np.log1p(np.arange(items))
    activity = rng.pareto(2.0, users) + 0.3
    counts = np.clip((activity / activity.sum() * rows).astype(int), 6, items // 2)
    user = np.repeat(np.arange(users), counts)
    # The best by appeal plus Gumbel noise are a draw without replacement in proportion to exp(appeal).
    item = np.concatenate([np.argsort(-(appeal[u] + rng.gumbel(size=items)))[:n] for u, n in enumerate(counts)])
    time = 1_700_000_000 + rng.permutation(len(item))
    return pl.DataFrame({"user_id": [f"u{u}" for u in user], "item_id": [f"i{i}" for i in item], "timestamp": time})
