//! Programs that keep secrets: `docker-credential-NAME get|store|erase`, on standard input and
//! output.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use ferry_api::registry::AuthConfig;
use ferry_sys::process;
use serde::{Deserialize, Serialize};

/// What a helper says when it knows nobody.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user's name when the secret is a token instead of a password.
const TOKEN: &str = "<token>";
/// Bytes of a helper's answer that are read.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Kept {
    #[serde(rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: String,
}

/// Asks for the credentials of a registry; nobody's when the helper has none.
pub(super) fn get(name: &str, server: &str) -> Result<AuthConfig, String> {
    let out = match call(name, "get", server.as_bytes()) {
        Ok(out) => out,
        Err(Failed { out, .. }) if out == NOT_FOUND => return Ok(AuthConfig::default()),
        Err(failed) => return Err(failed.words("getting")),
    };
    let kept: Kept = serde_json::from_str(&out)
        .map_err(|_error| format!("the answer of docker-credential-{name} is malformed"))?;
    let mut auth = AuthConfig { serveraddress: server.into(), ..AuthConfig::default() };
    if kept.username == TOKEN {
        auth.identitytoken = kept.secret;
    } else {
        (auth.username, auth.password) = (kept.username, kept.secret);
    }
    Ok(auth)
}

/// Hands over credentials.
pub(super) fn store(name: &str, auth: &AuthConfig) -> Result<(), String> {
    let (username, secret) = if auth.identitytoken.is_empty() {
        (auth.username.clone(), auth.password.clone())
    } else {
        (TOKEN.to_owned(), auth.identitytoken.clone())
    };
    let kept = Kept { server_url: auth.serveraddress.clone(), username, secret };
    let json = serde_json::to_vec(&kept).map_err(|error| error.to_string())?;
    call(name, "store", &json).map(drop).map_err(|failed| failed.words("storing"))
}

/// Makes the helper forget.
pub(super) fn erase(name: &str, server: &str) -> Result<(), String> {
    call(name, "erase", server.as_bytes()).map(drop).map_err(|failed| failed.words("erasing"))
}

/// The helper that is used when nothing is configured, if it is there.
pub(super) fn default_name() -> Option<&'static str> {
    let name = if find("pass").is_some() { "pass" } else { "secretservice" };
    find(&format!("docker-credential-{name}")).map(|_path| name)
}

struct Failed {
    why: String,
    out: String,
}

impl Failed {
    fn words(&self, doing: &str) -> String {
        format!("error {doing} credentials - err: {}, out: `{}`", self.why, self.out)
    }
}

fn call(name: &str, action: &str, input: &[u8]) -> Result<String, Failed> {
    let program = format!("docker-credential-{name}");
    let failed = |why: String| Failed { why, out: String::new() };
    let path = find(&program).ok_or_else(|| {
        failed(format!("exec: \"{program}\": executable file not found in $PATH"))
    })?;
    let (status, out) =
        run(&path, action, input).map_err(|error| failed(format!("{program}: {error}")))?;
    let out = String::from_utf8_lossy(&out).trim().to_owned();
    if status.success() {
        return Ok(out);
    }
    let why =
        status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"));
    Err(Failed { why, out })
}

fn run(path: &Path, action: &str, input: &[u8]) -> io::Result<(ExitStatus, Vec<u8>)> {
    // The helper is the user's, and is run as the user runs it.
    let mut child = process::command(path)
        .arg(action)
        .envs(std::env::vars_os())
        .current_dir(std::env::current_dir()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // A helper that does not read what it is told says so itself.
    if let Some(mut stdin) = child.stdin.take() {
        drop(stdin.write_all(input));
    }
    let mut out = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut out)?;
    }
    Ok((child.wait()?, out))
}

/// Finds a program in `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| {
        std::fs::metadata(candidate)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}
