"""Data that tests share, and the names of doctests."""

import numpy as np
import pytest
import rankstill as rk


def blocks(n_users: int = 60, n_items: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    """A log of four groups of users who like the same items, with times."""
    rng = np.random.default_rng(seed)
    users, items = [], []
    for user in range(n_users):
        group = user % 4
        own = rng.permutation(np.arange(group, n_items, 4))[:8]
        users += [user] * len(own)
        items += list(own)
    times = np.arange(len(users)) + 1_600_000_000
    return {"user_id": 100 + np.array(users), "item_id": 1000 + np.array(items), "timestamp": times}


@pytest.fixture(scope="session")
def log():
    return blocks()


@pytest.fixture(scope="session")
def data(log):
    return rk.Dataset(log)


@pytest.fixture(scope="session")
def als(data):
    return rk.ImplicitAls(dim=8).fit(data, seed=1)


TRAIN = {"epochs": 6, "batch_size": 64, "validate_every": 2}


@pytest.fixture(scope="session")
def small():
    """A student that trains in a moment."""
    return rk.BprMf(dim=4, train=TRAIN)
