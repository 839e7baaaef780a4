//! What is told while an index is pushed, in the forms that BuildKit has.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferry_distribution::CopyEvent;
use ferry_oci::digest::Digest;
use serde_json::{Value as Json, json};

use crate::commands::transfer::Transfer;
use crate::report::Failure;
use crate::{console, terminal};

/// The forms of `--progress`.
#[derive(Debug)]
enum Form {
    None,
    Plain,
    Json,
    Bars(Transfer),
}

/// Whether a step has ended, and how.
enum End<'a> {
    NotYet,
    Done,
    Failed(&'a str),
}

/// Tells of one step after the other.
#[derive(Debug)]
pub(super) struct Log {
    form: Form,
    /// Steps so far.
    count: usize,
    name: String,
    began: Instant,
    /// When it began, for programs.
    started: String,
}

impl Log {
    /// Tells in the form that `--progress` names.
    pub(super) fn new(progress: &str) -> Result<Self, Failure> {
        let form = match progress {
            "none" | "quiet" => Form::None,
            "plain" => Form::Plain,
            "rawjson" => Form::Json,
            "" | "auto" if terminal::columns(std::io::stderr()).is_none() => Form::Plain,
            "" | "auto" => Form::Bars(Transfer::new(false)),
            "tty" if terminal::columns(std::io::stderr()).is_none() => {
                return Err(Failure::plain("failed to get console: standard error is no terminal"));
            }
            "tty" => Form::Bars(Transfer::new(false)),
            other => return Err(Failure::plain(format!("invalid progress mode {other}"))),
        };
        let (name, started) = (String::new(), String::new());
        Ok(Self { form, count: 0, name, began: Instant::now(), started })
    }

    /// A step begins.
    pub(super) fn begin(&mut self, name: &str) {
        self.count += 1;
        self.name = format!("[internal] {name}");
        self.began = Instant::now();
        self.started = now();
        let text = match &mut self.form {
            Form::None => return,
            Form::Plain if self.count > 1 => format!("\n#{} {}", self.count, self.name),
            Form::Plain => format!("#{} {}", self.count, self.name),
            Form::Json => self.vertex(&End::NotYet),
            Form::Bars(transfer) => return transfer.say(&self.name),
        };
        console::complain(&text);
    }

    /// Something happens in the step.
    pub(super) fn line(&mut self, text: &str) {
        let text = match &mut self.form {
            Form::None => return,
            Form::Plain => {
                format!("#{} {:.3} {text}", self.count, self.began.elapsed().as_secs_f64())
            }
            Form::Json => {
                let data = STANDARD.encode(format!("{text}\n"));
                let vertex = self.digest();
                json!({"logs": [{
                    "vertex": vertex, "stream": 1, "data": data, "timestamp": now(),
                }]})
                .to_string()
            }
            Form::Bars(transfer) => return transfer.say(text),
        };
        console::complain(&text);
    }

    /// A blob moves.
    pub(super) fn tell(&mut self, event: &CopyEvent) {
        if let Form::Bars(transfer) = &mut self.form {
            transfer.tell(event);
        }
    }

    /// The step ends; with words when it failed.
    pub(super) fn end(&mut self, error: Option<&str>) {
        let text = match (&self.form, error) {
            (Form::None | Form::Bars(_), _) => return,
            (Form::Plain, None) => {
                format!("#{} DONE {:.1}s", self.count, self.began.elapsed().as_secs_f64())
            }
            (Form::Plain, Some(error)) => format!("#{} ERROR: {error}", self.count),
            (Form::Json, None) => self.vertex(&End::Done),
            (Form::Json, Some(error)) => self.vertex(&End::Failed(error)),
        };
        console::complain(&text);
    }

    /// The step's state for programs.
    fn vertex(&self, end: &End<'_>) -> String {
        let mut vertex = serde_json::Map::new();
        vertex.insert("digest".into(), self.digest().into());
        vertex.insert("name".into(), self.name.clone().into());
        vertex.insert("started".into(), self.started.clone().into());
        if !matches!(end, End::NotYet) {
            vertex.insert("completed".into(), now().into());
        }
        if let End::Failed(error) = end {
            vertex.insert("error".into(), (*error).into());
        }
        json!({ "vertexes": [Json::Object(vertex)] }).to_string()
    }

    /// What programs know the step by.
    fn digest(&self) -> String {
        Digest::sha256_of(format!("{} {}", self.count, self.name).as_bytes()).to_string()
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_known_by_its_digest() {
        let mut log = Log::new("rawjson").unwrap();
        log.name = "[internal] pushing x".into();
        let begun: Json = serde_json::from_str(&log.vertex(&End::NotYet)).unwrap();
        let ended: Json = serde_json::from_str(&log.vertex(&End::Failed("why"))).unwrap();
        let (begun, ended) = (&begun["vertexes"][0], &ended["vertexes"][0]);
        assert_eq!(begun["digest"], ended["digest"]);
        assert!(begun["completed"].is_null() && ended["completed"].is_string());
        assert_eq!(ended["error"], "why");
        assert_eq!(Log::new("bad").unwrap_err().message, "invalid progress mode bad");
    }
}
