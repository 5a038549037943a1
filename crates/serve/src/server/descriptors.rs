//! How many files and sockets the process may open.

/// Descriptors that are not for connections: the event store, logs, the files of a model that is being loaded.
const OTHERS: u64 = 96;

/// Raises the limit on open files as far as the process may.
pub(super) fn raise_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
            // A system that refuses keeps the limit that it had; fewer connections are accepted then.
            _ = setrlimit(Resource::Nofile, most);
        }
    }
}

/// The connections that `wanted` comes to within the limit on open files. At least one.
pub(super) fn connections(wanted: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(most.saturating_sub(OTHERS)).unwrap_or(usize::MAX);
        wanted.min(most).max(1)
    }
    #[cfg(not(unix))]
    {
        _ = OTHERS;
        wanted.max(1)
    }
}
