//! `cargo xtask <word>`: everything that is done to this project, by one program.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "xtask speaks to the person who called it")]

use std::process::ExitCode;

use anyhow::{Result, bail};

mod bench;
mod check;
mod demo;
mod dist;
mod guest;
mod install;
mod play;
mod suite;
#[cfg(test)]
mod tidy;
mod tools;

const WORDS: &str = "\
usage: cargo xtask <word>

  check       format, clippy, tidy, documents, licences, and the tests that need no engine
  test        installs what is missing (Debian, root), builds, and runs every test
  e2e [...]   the end-to-end suite (root); further words go to the test program
  guest [...] the tests that look at cgroups, in an emulated machine with version 2 (Debian, root)
  build       all programs, as released, into target/dist
  bench run   Ferry and a reference engine in turns [--rounds N] [--reference unix://...]
  bench images the same for pull, push, save and load [--image NAME,...] [--operation NAME,...]
              [--podman COMMAND] [--root FOLDER]; --rounds 0 only makes the images
  demo        shows the product at work on a private root (Debian, root)
  play        an engine and a shell in a scratch root
  tidy        the rules of the house alone";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check::check(),
        ["tidy"] => check::tidy(),
        ["test"] => suite::test(),
        ["e2e", rest @ ..] => suite::e2e(rest),
        ["build"] => dist::build().map(|folder| println!("built into {}", folder.display())),
        ["bench", "run", rest @ ..] => bench::run(rest),
        ["bench", "images", rest @ ..] => bench::images(rest),
        ["guest", rest @ ..] => guest::test(rest),
        ["demo"] => demo::demo(),
        ["play"] => play::play(),
        [] | ["help" | "-h" | "--help"] => {
            println!("{WORDS}");
            Ok(())
        }
        other => bail!("no such word: {}\n\n{WORDS}", other.join(" ")),
    }
}
