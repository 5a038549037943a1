//! The command line: parses options, calls the library, prints.

use crate::commands;
use crate::progress::{self, Screen};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write as _;

/// Distils recommenders: trains a small, fast student to rank like its large teachers.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// Number of threads; 0 = one per core. Results do not depend on it.
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Print only errors and the result.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// `compress` on a simulated log: teachers, their ensemble, students, and which one to take. Takes a minute, needs no file and no network.
    Quickstart(commands::quickstart::Options),
    /// Find the best small ranker for a log: teachers, an ensemble, students, and one recommended within a budget.
    Compress(commands::compress::Options),
    /// Run an experiment file: from the log to the table of results.
    Run(commands::run::Options),
    /// Search for the settings that do best on validation data.
    Tune(commands::tune::Options),
    /// Simulate a log of any size, with the spreads of real logs, latent tastes, order and repeats.
    Simulate(commands::simulate::Options),
    /// Read, filter, split and audit a log, and write the result as a folder.
    Prepare(commands::prepare::Options),
    /// Train one model on a prepared folder or a log.
    Train(commands::train::Options),
    /// Distil one student from artefacts or files of rankings.
    Distill(commands::distill::Options),
    /// Evaluate the rankings of any system against test interactions.
    Evaluate(commands::evaluate::Options),
    /// Write recommendations for all or some users of an artefact.
    Recommend(commands::recommend::Options),
    /// Serve artefacts over HTTP: recommendations, similar items, events.
    #[cfg(feature = "serve")]
    Serve(commands::serve::Options),
    /// Export the events that a server received, as a log that `prepare` reads.
    #[cfg(feature = "serve")]
    Events(commands::events::Options),
    /// Measure the throughput and latency of a server.
    #[cfg(feature = "serve")]
    Bench(commands::bench::Options),
    /// Compare two runs or two models with paired tests, case by case.
    Compare(commands::compare::Options),
    /// Show the contents of a data set, an artefact or a run.
    Inspect(commands::inspect::Options),
    /// Make the page of a finished run again: report.html.
    Report(commands::report::Options),
    /// List the models, distillers, metrics, formats and splits, and their settings.
    List(commands::list::Options),
    /// Print a shell completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The exit code of a command that failed.
const FAILURE: u8 = 1;

/// Runs the command that `args` give, the program's name first, and returns its exit code.
#[must_use]
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // The help and the version come here too.
        Err(problem) => {
            _ = problem.print();
            return problem.exit_code() as u8;
        }
    };
    let screen = Screen::new(cli.common.quiet, cli.common.json);
    if let Err(problem) = rankstill::core::kernel::simd::check_named() {
        _ = writeln!(std::io::stderr(), "error: {problem}");
        return FAILURE;
    }
    if let Err(error) =
        rayon::ThreadPoolBuilder::new().num_threads(cli.common.threads).build_global()
    {
        eprintln!("error: {error}");
        return FAILURE;
    }
    let result = match cli.command {
        Command::Quickstart(options) => commands::quickstart::run(&options, &screen),
        Command::Compress(options) => commands::compress::run(&options, &screen),
        Command::Run(options) => commands::run::run(&options, &screen),
        Command::Tune(options) => commands::tune::run(&options, &screen),
        Command::Simulate(options) => commands::simulate::run(&options, &screen),
        Command::Prepare(options) => commands::prepare::run(&options, &screen),
        Command::Train(options) => commands::train::run(&options, &screen),
        Command::Distill(options) => commands::distill::run(&options, &screen),
        Command::Evaluate(options) => commands::evaluate::run(&options, &screen),
        Command::Recommend(options) => commands::recommend::run(&options, &screen),
        #[cfg(feature = "serve")]
        Command::Serve(options) => commands::serve::run(&options, cli.common.threads, &screen),
        #[cfg(feature = "serve")]
        Command::Events(options) => commands::events::run(&options, &screen),
        #[cfg(feature = "serve")]
        Command::Bench(options) => commands::bench::run(&options, cli.common.threads, &screen),
        Command::Compare(options) => commands::compare::run(&options, &screen),
        Command::Inspect(options) => commands::inspect::run(&options, &screen),
        Command::Report(options) => commands::report::run(&options, &screen),
        Command::List(options) => commands::list::run(&options, &screen),
        Command::Completions { shell } => {
            let mut script = Vec::new(); // clap_complete panics when its output cannot be written
            clap_complete::generate(shell, &mut Cli::command(), "rankstill", &mut script);
            screen.print(String::from_utf8_lossy(&script).trim_end())
        }
    };
    match result {
        Ok(()) => 0,
        Err(error) if progress::interrupted() => {
            screen.clear();
            _ = writeln!(std::io::stderr(), "interrupted: {}", crate::error_line(&error));
            progress::exit_code()
        }
        Err(error) => {
            screen.clear();
            _ = writeln!(std::io::stderr(), "error: {}", crate::error_line(&error));
            FAILURE
        }
    }
}
