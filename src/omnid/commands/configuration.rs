//! `omnid config …` and `omnid man`: all from the one definition of each section and command.

use std::{io::IsTerminal, path::Path, process::ExitCode};

use clap::CommandFactory;

use super::{Context, Outcome, out};
use crate::{
    cli::{Arguments, Config},
    root::Root,
};

pub(super) fn run(context: &Context, command: Config) -> Outcome {
    match command {
        Config::Show { defaults } => {
            let loaded = match omnid_config::load::<Root>(&context.config) {
                Ok(loaded) => loaded.value,
                // The defaults can be read about before there is a file.
                Err(_) if defaults && !context.config.exists() => Root::default(),
                Err(report) => {
                    eprint!("{}", report.render(std::io::stderr().is_terminal()));
                    return Ok(ExitCode::FAILURE);
                }
            };
            out(omnid_config::print::<Root>(&loaded, defaults).trim_end())?;
        }
        Config::Schema => out(serde_json::to_string_pretty(
            &omnid_config::schema::<Root>(),
        )?)?,
        Config::Explain { key } => out(omnid_config::explain::<Root>(&key)?.trim_end())?,
        Config::Reference => out(omnid_config::reference::<Root>().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(directory: Option<&Path>) -> Outcome {
    let command = Arguments::command();
    match directory {
        None => clap_mangen::Man::new(command).render(&mut std::io::stdout())?,
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            clap_mangen::generate_to(command, directory)?;
            std::fs::write(directory.join("omnid.toml.5"), omnid_config::man::<Root>())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
