"""How far long work is: a bar of tqdm where it is installed, else a line on standard error."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def bar(progress: bool | Callable[[float, str], object], title: str) -> AbstractContextManager[Callable[[float, str], object] | None]:
    """A function of the share that is done and a text, or `None`."""
    if callable(progress):
        return nullcontext(progress)
    return _shown(title) if progress else nullcontext(None)


@contextmanager
def _shown(title: str) -> Iterator[Callable[[float, str], object]]:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        yield from _line(title)
        return
    with tqdm(total=100, desc=title, bar_format="{desc} {bar} {percentage:3.0f}%  {postfix}") as shown:

        def update(share: float, note: str) -> None:
            shown.set_postfix_str(note, refresh=False)
            shown.update(100 * share - shown.n)

        yield update


def _line(title: str) -> Iterator[Callable[[float, str], object]]:
    last = [""]

    def update(share: float, note: str) -> None:
        line = f"{title}  {100 * share:3.0f}%  {note}"
        if line != last[0]:
            sys.stderr.write(f"\r{line}\033[K")
            sys.stderr.flush()
            last[0] = line

    yield update
    sys.stderr.write("\n" if last[0] else "")


def messages(progress: bool | Callable[[float, str], object]) -> Callable[[float, str], object] | None:
    """A function that prints what a run says."""
    if callable(progress):
        return progress
    return (lambda share, line: print(line, file=sys.stderr)) if progress else None
