//! Questions to the user.

use std::io::BufRead as _;

use crate::console;
use crate::report::Failure;
use crate::terminal::Silent;

/// Asks for a line.
pub(crate) async fn line(question: &str) -> Result<String, Failure> {
    console::print(question)?;
    read().await
}

/// Asks for a line that the terminal does not show.
pub(crate) async fn secret(question: &str) -> Result<String, Failure> {
    let silent = Silent::enter();
    console::print(question)?;
    let answer = read().await;
    drop(silent);
    console::print("\n")?;
    answer
}

/// Asks whether to go on; what is not `y` or `Y` is no.
pub(crate) async fn confirm(question: &str) -> Result<bool, Failure> {
    console::print(&format!("{question} [y/N] "))?;
    Ok(read().await?.eq_ignore_ascii_case("y"))
}

/// Reads a line of standard input without the blanks around it; an interrupt ends the program, and
/// only after the terminal has been put right.
async fn read() -> Result<String, Failure> {
    let reading = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_count| answer)
    });
    tokio::select! {
        answer = reading => match answer {
            Ok(answer) => Ok(answer?.trim().to_owned()),
            Err(error) => Err(Failure::plain(error.to_string())),
        },
        _interrupt = tokio::signal::ctrl_c() => {
            console::complain("\n");
            Err(Failure::silent(130))
        }
    }
}
