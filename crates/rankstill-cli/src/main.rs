//! The command line: parses, calls the library, prints. No logic of the field lives here.

mod commands;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use rankstill_cli::progress::Screen;
use std::io::Write as _;
use std::process::ExitCode;

/// Distils recommenders: a small, fast student that ranks as its large teachers do.
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
    /// Threads to use; 0 = one a core. Results do not depend on it.
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Print nothing but errors and what was asked for.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Teacher, student and distilled student on simulated data, in a minute: needs no file and no network.
    Quickstart(commands::quickstart::Options),
    /// The whole way: from a log to the table, as an experiment file says.
    Run(commands::run::Options),
    /// Search for settings by what they come to on validation data.
    Tune(commands::tune::Options),
    /// Make a log with latent tastes, Zipf popularity and drift, of any size.
    Simulate(commands::simulate::Options),
    /// Read, filter, split and audit a log; keep the result as a folder.
    Prepare(commands::prepare::Options),
    /// Fit one model on a prepared folder or a log.
    Train(commands::train::Options),
    /// Teach one student by an artefact or a file of rankings.
    Distill(commands::distill::Options),
    /// Measure any system's rankings against what users really did.
    Evaluate(commands::evaluate::Options),
    /// Recommend to all or some users of an artefact, in batch.
    Recommend(commands::recommend::Options),
    /// Answer over HTTP: recommendations, similar items, events.
    #[cfg(feature = "serve")]
    Serve(commands::serve::Options),
    /// What a server was told, as a log that `prepare` reads.
    #[cfg(feature = "serve")]
    Events(commands::events::Options),
    /// How many requests a server answers, and how long each waits.
    #[cfg(feature = "serve")]
    Bench(commands::bench::Options),
    /// Test two runs against each other, case by case.
    Compare(commands::compare::Options),
    /// Say what a data set, an artefact or a run holds.
    Inspect(commands::inspect::Options),
    /// List the models, distillers, metrics, formats and splits, with their settings.
    List(commands::list::Options),
    /// Print the completion script of a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::new(cli.common.quiet, cli.common.json);
    if let Err(error) =
        rayon::ThreadPoolBuilder::new().num_threads(cli.common.threads).build_global()
    {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let done = match cli.command {
        Command::Quickstart(options) => commands::quickstart::run(&options, &screen),
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
        Command::List(options) => commands::list::run(&options, &screen),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "rankstill",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if rankstill_cli::progress::interrupted() => {
            screen.clear();
            _ = writeln!(std::io::stderr(), "interrupted: {}", rankstill_cli::told(&error));
            ExitCode::from(130)
        }
        Err(error) => {
            screen.clear();
            _ = writeln!(std::io::stderr(), "error: {}", rankstill_cli::told(&error));
            ExitCode::FAILURE
        }
    }
}
