//! `login` and `logout`.

use std::io::Read as _;

use ferry_api::registry::AuthConfig;

use crate::command_line::Matches;
use crate::credentials::{DOCKER_HUB, Store, hostname};
use crate::note::{is_colored, note};
use crate::program::Cli;
use crate::report::{self, Failure};
use crate::{console, prompt, terminal};

/// `login`
pub(super) async fn login(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let typed = Typed::read(matches)?;
    // The words of the program's own name: an alias of Docker's library for its registry.
    let server = match matches.args.first().map(String::as_str) {
        None | Some("" | "docker.io") => DOCKER_HUB,
        Some(server) if server == DOCKER_HUB => DOCKER_HUB,
        Some(server) => hostname(server),
    };
    let mut known = AuthConfig::default();
    if typed.user.is_empty() && typed.password.is_empty() {
        // A store that fails knows nobody; what is typed then is what counts.
        known = Store::of(&cli.config, server).get(server).unwrap_or_default();
        server.clone_into(&mut known.serveraddress);
        if !known.username.is_empty()
            && !known.password.is_empty()
            && let Some(status) = again(cli, &known).await?
        {
            return console::line(&status);
        }
    }
    let auth = ask(&typed, &known.username, server).await?;
    let response = cli.client.auth(&auth).await?;
    keep(cli, auth, response.identity_token)?;
    if response.status.is_empty() { Ok(()) } else { console::line(&response.status) }
}

/// What the flags say.
struct Typed {
    user: String,
    password: String,
}

impl Typed {
    fn read(matches: &Matches) -> Result<Self, Failure> {
        for name in ["username", "password"] {
            if matches.is_given(name) && matches.text(name).is_empty() {
                return Err(Failure::plain(format!("{name} is empty")));
            }
        }
        let user = matches.text("username").to_owned();
        let mut password = matches.text("password").to_owned();
        let from_stdin = matches.flag("password-stdin");
        if from_stdin && !password.is_empty() {
            return Err(Failure::plain(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if from_stdin && user.is_empty() {
            return Err(Failure::plain(
                "the --password-stdin option requires --username to be set",
            ));
        }
        if !password.is_empty() {
            console::complain(
                "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
            );
        }
        if from_stdin {
            std::io::stdin().lock().read_to_string(&mut password)?;
            let end = password.strip_suffix('\n').unwrap_or(&password);
            password = end.strip_suffix('\r').unwrap_or(end).to_owned();
        }
        Ok(Self { user, password })
    }
}

/// Logs in with what is kept; nothing when the registry does not take it any more.
async fn again(cli: &Cli, known: &AuthConfig) -> Result<Option<String>, Failure> {
    let advice =
        "To login with a different account, run 'docker logout' followed by 'docker login'";
    console::talk(&format!(
        "Authenticating with existing credentials... [Username: {}]\n{}\n\n",
        known.username,
        note(advice, is_colored(std::io::stderr()))
    ));
    match cli.client.auth(known).await {
        Ok(response) => {
            keep(cli, known.clone(), response.identity_token)?;
            Ok(Some(response.status))
        }
        Err(error) if error.status() == Some(401) => {
            console::complain("Stored credentials invalid or expired");
            Ok(None)
        }
        Err(error) => {
            let words = report::words(&error);
            console::complain(&format!("Login did not succeed, error: {words}"));
            Ok(None)
        }
    }
}

/// Asks for what was not typed.
async fn ask(typed: &Typed, known_user: &str, server: &str) -> Result<AuthConfig, Failure> {
    let mut user = typed.user.trim().to_owned();
    let mut password = typed.password.clone();
    if (user.is_empty() || password.is_empty()) && !terminal::is_input() {
        return Err(Failure::plain(
            "Error: Cannot perform an interactive login from a non TTY device",
        ));
    }
    let is_hub = server == DOCKER_HUB;
    if user.is_empty() {
        if is_hub {
            console::line(
                "Log in with your Docker ID or email address to push and pull images from Docker Hub. If you don't have a Docker ID, head over to https://hub.docker.com/ to create one.\n\
                 You can log in with your password or a Personal Access Token (PAT). Using a limited-scope PAT grants better security and is required for organizations using SSO. Learn more at https://docs.docker.com/go/access-tokens/\n",
            )?;
        }
        let question = match known_user {
            "" => "Username: ".to_owned(),
            known => format!("Username ({known}): "),
        };
        user = prompt::line(&question).await?;
        if user.is_empty() {
            known_user.clone_into(&mut user);
        }
    }
    if user.is_empty() {
        return Err(Failure::plain("Error: Non-null Username Required"));
    }
    if password.is_empty() {
        if is_hub {
            let is_colored = is_colored(std::io::stderr());
            let address = "https://app.docker.com/settings";
            let address =
                if is_colored { format!("\x1b[4m{address}\x1b[0m") } else { address.to_owned() };
            console::talk(&note(
                &format!(
                    "A Personal Access Token (PAT) can be used instead.\n\
                     To create a PAT, visit {address}\n\n"
                ),
                is_colored,
            ));
        }
        password = prompt::secret("Password: ").await?;
    }
    if password.is_empty() {
        return Err(Failure::plain("Error: Password Required"));
    }
    Ok(AuthConfig {
        username: user,
        password,
        serveraddress: server.into(),
        ..AuthConfig::default()
    })
}

/// Keeps what let us in: the token that the registry gave, else the password.
fn keep(cli: &Cli, mut auth: AuthConfig, token: String) -> Result<(), Failure> {
    if !token.is_empty() {
        auth.password.clear();
        auth.identitytoken = token;
    }
    Store::of(&cli.config, &auth.serveraddress)
        .store(&auth)
        .map_err(|why| Failure::plain(format!("Error saving credentials: {why}")))
}

/// `logout`
pub(super) fn logout(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let typed = matches.args.first().map_or("", String::as_str);
    let (shown, names) = if typed.is_empty() {
        (DOCKER_HUB, vec![DOCKER_HUB.to_owned()])
    } else {
        let host = hostname(typed);
        // Older clients kept these too.
        let others = [host.to_owned(), format!("http://{host}"), format!("https://{host}")];
        let others = others.into_iter().filter(|name| name != typed);
        (host, std::iter::once(typed.to_owned()).chain(others).collect())
    };
    console::line(&format!("Removing login credentials for {shown}"))?;
    let mut complaints = Vec::new();
    for name in &names {
        if let Err(why) = Store::of(&cli.config, name).erase(name) {
            complaints.push(format!("{name}: {why}"));
        }
    }
    // One that was forgotten is enough, since few have them in all forms. Docker counts the host
    // twice and so says nothing when none was; whose password is still kept should know.
    if complaints.len() == names.len() {
        console::complain("WARNING: could not erase credentials:");
        console::complain(&complaints.join("\n"));
    }
    Ok(())
}
