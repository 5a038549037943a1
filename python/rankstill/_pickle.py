"""Pickling of models: the files of their artefact."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ._rankstill import Model, load


def reduced(model: Model, text_users: bool, text_items: bool) -> tuple[object, ...]:
    """What `pickle` keeps."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        model.save(place)
        files = {path.name: path.read_bytes() for path in place.iterdir()}
    return restored, (files, text_users, text_items)


def restored(files: dict[str, bytes], text_users: bool, text_items: bool) -> Model:
    """A model from its files."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return load(folder, text_users=text_users, text_items=text_items)
