//! Each command of the command line.

pub mod accounts;
mod archive;
mod configuration;
mod control;
mod dns;
mod expectations;
mod explain;
mod import;
mod moves;
pub mod password;
mod print;
mod top;

use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::CommandFactory;
use serde_json::json;

use crate::{
    check::check,
    cli::{Arguments, Command, Demo},
    daemon::{self, services::Services},
    demo,
    root::default_path,
};

/// Why a command failed, in words for the operator.
pub type CommandError = Box<dyn Error + Send + Sync>;
type Outcome = Result<ExitCode, CommandError>;

/// Where the configuration is and how output is wanted.
pub struct Context {
    /// The configuration file.
    pub config: PathBuf,
    /// The control socket, where the command line names it.
    pub socket: Option<PathBuf>,
    /// Whether JSON is wanted.
    pub json: bool,
}

/// Carries out what was typed.
///
/// # Errors
/// What `main` prints behind `omnid: `.
pub fn dispatch(arguments: Arguments) -> Outcome {
    let context = Context {
        config: arguments.config.unwrap_or_else(default_path),
        socket: arguments.socket,
        json: arguments.json,
    };
    match arguments.command {
        Command::Run => run(&context),
        Command::Demo(Demo { dir, ports }) => demo::run(dir, &ports, context.json),
        Command::Check => check_only(&context),
        Command::Reload { dry_run } => control::reload(&context, dry_run),
        Command::Status => control::status(&context),
        Command::User(command) => accounts::run(&context, command),
        Command::Domain(command) => control::domain(&context, command),
        Command::Zone(command) => control::zone(&context, command),
        Command::Dns(command) => dns::run(&context, command),
        Command::Cert(command) => control::cert(&context, &command),
        Command::Sessions => control::table(&context, "sessions"),
        Command::Calls => control::table(&context, "calls"),
        Command::Registrations => control::table(&context, "registrations"),
        Command::Trunks => control::table(&context, "trunks"),
        Command::Log(log) => control::log(&context, &log),
        Command::Top { interval, once } => top::run(&context, interval, once),
        Command::Backup { directory } => archive::backup(&context, &directory),
        Command::Restore { directory, force } => archive::restore(&context, &directory, force),
        Command::Verify { directory } => archive::verify(&context, directory.as_deref()),
        Command::Config(command) => configuration::run(&context, command),
        Command::Import(command) => import::run(&context, command),
        Command::Export { output, domain } => {
            moves::export(&context, output.as_deref(), domain.as_deref())
        }
        Command::Explain(question) => explain::run(&context, &question),
        Command::Test => expectations::run(&context),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "omnid", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { dir } => configuration::man(dir.as_deref()),
    }
}

/// The one runtime of the process.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("omnid")
        .build()
}

fn run(context: &Context) -> Outcome {
    let services = Services::new();
    // The runtime comes first: what is prepared may already need its handle.
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let checked = match check(&context.config, &services) {
        Ok(checked) => checked,
        Err(rejected) => {
            eprint!("{rejected}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let code = runtime.block_on(daemon::run(
        &context.config,
        services,
        checked,
        async |_| {},
    ))?;
    // Blocking work that does not end (a hung disk) must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(code)
}

fn check_only(context: &Context) -> Outcome {
    match check(&context.config, &Services::new()) {
        Ok(checked) => {
            eprint!("{}", checked.warnings);
            if context.json {
                println!("{}", json!({"ok": true, "warnings": checked.warnings}));
            } else {
                println!("{}: good", context.config.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(rejected) if context.json => {
            println!("{}", json!({"ok": false, "problems": rejected.0}));
            Ok(ExitCode::FAILURE)
        }
        Err(rejected) => {
            eprint!("{rejected}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Whether an error is only that nobody reads our output any more.
pub fn broken_pipe(error: &CommandError) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes to standard output, with a closed pipe as an error rather than a panic.
pub fn out(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}
