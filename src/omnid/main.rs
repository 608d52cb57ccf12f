//! omnid: one daemon for DNS, HTTP, SIP and XMPP.
//!
//! This crate is the command line and the wiring from a configuration to a running tree. It holds
//! no protocol logic; see ARCHITECTURE.md for where that is.

mod check;
mod cli;
mod commands;
mod daemon;
mod data_directory;
mod demo;
mod root;
mod welcome;

use std::process::ExitCode;

use clap::Parser;

// Version 2 of it (a feature in Cargo.toml): after ten thousand connections have gone, version 3 keeps
// four fifths of the memory that they took, and this a third.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match commands::dispatch(arguments) {
        Ok(code) => code,
        // `omnid zone list | head` is no failure of omnid.
        Err(error) if commands::broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("omnid: {error}");
            ExitCode::FAILURE
        }
    }
}
