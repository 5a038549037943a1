"""The command line: `rankstill ...` or `python -m rankstill ...`."""

import signal
import sys

from ._rankstill import main


def run() -> None:
    """Runs the command line with the arguments of the process and exits."""
    # Python's own answer to Ctrl-C would come after the command's, as a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main(["rankstill", *sys.argv[1:]]))


if __name__ == "__main__":
    run()
