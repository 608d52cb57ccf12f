//! Passwords asked for, read or made up. Never an argument: arguments show in `ps`.

use std::io::{self, BufRead};

use super::CommandError;

/// A password and where it came from.
pub struct Secret {
    /// The password.
    pub text: String,
    /// Whether it was made up here, and so must be shown.
    pub generated: bool,
}

/// Gets a password: made up, from standard input, or asked for twice on the terminal.
pub fn obtain(stdin: bool, generate: bool) -> Result<Secret, CommandError> {
    if generate {
        return Ok(Secret {
            text: generated()?,
            generated: true,
        });
    }
    if stdin {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let text = line.trim_end_matches(['\r', '\n']).to_owned();
        return checked(text);
    }
    let first = rpassword::prompt_password("Password: ").map_err(|error| {
        format!("there is no terminal to ask on ({error}); use --stdin or --generate")
    })?;
    if rpassword::prompt_password("Again: ")? != first {
        return Err("the two passwords differ".into());
    }
    checked(first)
}

fn checked(text: String) -> Result<Secret, CommandError> {
    if text.is_empty() {
        return Err("the password is empty".into());
    }
    Ok(Secret {
        text,
        generated: false,
    })
}

/// Twenty characters without look-alikes: about 98 bits.
pub fn generated() -> io::Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0_u8; 20];
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = random.get_mut(filled..) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect())
}
