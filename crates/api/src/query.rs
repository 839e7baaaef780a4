//! Query strings, and the parameters of each endpoint that has some.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::Filters;

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes text for a query or for one segment of a path.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The parameters after the `?`, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// A parameter that cannot be read, with Docker's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidParameter {
    /// What is wrong with it.
    pub message: String,
}

impl Query {
    /// Takes a query string apart. What cannot be decoded is taken with replacement characters.
    pub fn parse(text: &str) -> Self {
        let decode = |part: &str| {
            percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// Adds a parameter.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A truth value as Docker reads it: all but `""`, `0`, `no`, `false` and `none` is true.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(is_true)
    }

    /// Makes the query string, with its `?` when there is something in it.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(&escape(name));
            text.push('=');
            text.push_str(&escape(value));
        }
        text
    }
}

fn is_true(text: &str) -> bool {
    !matches!(text.trim().to_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// A type that parameters have.
trait Parameter: Sized {
    fn push(&self, name: &str, query: &mut Query);
    fn read(name: &str, query: &Query) -> Result<Self, InvalidParameter>;
}

impl Parameter for bool {
    fn push(&self, name: &str, query: &mut Query) {
        if *self {
            query.push(name, "1");
        }
    }

    fn read(name: &str, query: &Query) -> Result<Self, InvalidParameter> {
        Ok(query.is_true(name))
    }
}

/// A parameter whose absence is not `false`.
impl Parameter for Option<bool> {
    fn push(&self, name: &str, query: &mut Query) {
        if let Some(value) = self {
            query.push(name, if *value { "1" } else { "0" });
        }
    }

    fn read(name: &str, query: &Query) -> Result<Self, InvalidParameter> {
        Ok(query.get(name).map(is_true))
    }
}

impl Parameter for Option<String> {
    fn push(&self, name: &str, query: &mut Query) {
        if let Some(value) = self {
            query.push(name, value.as_str());
        }
    }

    fn read(name: &str, query: &Query) -> Result<Self, InvalidParameter> {
        Ok(query.get(name).filter(|value| !value.is_empty()).map(str::to_owned))
    }
}

impl Parameter for Vec<String> {
    fn push(&self, name: &str, query: &mut Query) {
        for value in self {
            query.push(name, value.as_str());
        }
    }

    fn read(name: &str, query: &Query) -> Result<Self, InvalidParameter> {
        Ok(query.get_all(name).map(str::to_owned).collect())
    }
}

impl Parameter for Option<i64> {
    fn push(&self, name: &str, query: &mut Query) {
        if let Some(value) = self {
            query.push(name, value.to_string());
        }
    }

    fn read(name: &str, query: &Query) -> Result<Self, InvalidParameter> {
        let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(not_a_number("Atoi", text)),
        }
    }
}

impl Parameter for u32 {
    fn push(&self, name: &str, query: &mut Query) {
        query.push(name, self.to_string());
    }

    fn read(name: &str, query: &Query) -> Result<Self, InvalidParameter> {
        let text = query.get(name).unwrap_or_default();
        text.parse().map_err(|_error| not_a_number("ParseUint", text))
    }
}

fn not_a_number(function: &str, text: &str) -> InvalidParameter {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number && !(function == "ParseUint" && text.starts_with(['-', '+'])) {
        "value out of range"
    } else {
        "invalid syntax"
    };
    InvalidParameter { message: format!("strconv.{function}: parsing {text:?}: {why}") }
}

impl Parameter for Filters {
    fn push(&self, name: &str, query: &mut Query) {
        if !self.is_empty() {
            query.push(name, self.encode());
        }
    }

    fn read(name: &str, query: &Query) -> Result<Self, InvalidParameter> {
        Self::parse(query.get(name).unwrap_or_default())
            .map_err(|error| InvalidParameter { message: error.to_string() })
    }
}

macro_rules! queries {
    ($(
        $(#[$meta:meta])*
        $name:ident { $( $(#[$field_meta:meta])* $field:ident : $ty:ty = $wire:literal ),* $(,)? }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {$(
            #[doc = concat!("The parameter `", $wire, "`.")]
            $(#[$field_meta])*
            pub $field: $ty,
        )*}

        impl $name {
            /// Makes the query; what has its default is left out.
            pub fn to_query(&self) -> Query {
                let mut query = Query::default();
                $( Parameter::push(&self.$field, $wire, &mut query); )*
                query
            }

            /// Reads the parameters; others are ignored, as Docker does.
            ///
            /// # Errors
            ///
            /// A parameter cannot be read.
            pub fn from_query(query: &Query) -> Result<Self, InvalidParameter> {
                Ok(Self { $( $field: Parameter::read($wire, query)?, )* })
            }
        }
    )*};
}

queries! {
    /// `GET /containers/json`.
    ContainerListQuery {
        all: bool = "all",
        /// The newest so many; implies `all`.
        limit: Option<i64> = "limit",
        size: bool = "size",
        filters: Filters = "filters",
    }

    /// `POST /containers/create`.
    ContainerCreateQuery {
        name: Option<String> = "name",
        platform: Option<String> = "platform",
    }

    /// `GET /containers/{id}/json`.
    ContainerInspectQuery {
        size: bool = "size",
    }

    /// `POST /containers/{id}/start`.
    ContainerStartQuery {
        detach_keys: Option<String> = "detachKeys",
        checkpoint: Option<String> = "checkpoint",
        checkpoint_dir: Option<String> = "checkpoint-dir",
    }

    /// `POST /containers/{id}/stop` and `POST /containers/{id}/restart`.
    ContainerStopQuery {
        signal: Option<String> = "signal",
        /// Seconds; -1 is for ever.
        timeout: Option<i64> = "t",
    }

    /// `POST /containers/{id}/kill`.
    ContainerKillQuery {
        signal: Option<String> = "signal",
    }

    /// `POST /containers/{id}/wait`.
    ContainerWaitQuery {
        /// `not-running`, `next-exit` or `removed`.
        condition: Option<String> = "condition",
    }

    /// `POST /containers/{id}/rename`.
    ContainerRenameQuery {
        name: Option<String> = "name",
    }

    /// `DELETE /containers/{id}`.
    ContainerRemoveQuery {
        volumes: bool = "v",
        force: bool = "force",
        link: bool = "link",
    }

    /// `GET /containers/{id}/top`.
    ContainerTopQuery {
        /// Of `ps`; `-ef` when absent.
        ps_args: Option<String> = "ps_args",
    }

    /// `POST /containers/{id}/attach`.
    ContainerAttachQuery {
        detach_keys: Option<String> = "detachKeys",
        /// What was written before.
        logs: bool = "logs",
        /// What is written from now on.
        stream: bool = "stream",
        stdin: bool = "stdin",
        stdout: bool = "stdout",
        stderr: bool = "stderr",
    }

    /// `GET /containers/{id}/logs`.
    ContainerLogsQuery {
        follow: bool = "follow",
        stdout: bool = "stdout",
        stderr: bool = "stderr",
        /// Seconds since 1970, with a fraction.
        since: Option<String> = "since",
        /// Seconds since 1970, with a fraction.
        until: Option<String> = "until",
        timestamps: bool = "timestamps",
        details: bool = "details",
        /// A number of lines, or `all`.
        tail: Option<String> = "tail",
    }

    /// `POST /containers/{id}/resize` and `POST /exec/{id}/resize`.
    ResizeQuery {
        height: u32 = "h",
        width: u32 = "w",
    }

    /// `GET /images/json`.
    ImageListQuery {
        all: bool = "all",
        filters: Filters = "filters",
        shared_size: bool = "shared-size",
        digests: bool = "digests",
        /// Since API 1.47.
        manifests: bool = "manifests",
    }

    /// `POST /images/load`.
    ImageLoadQuery {
        quiet: Option<bool> = "quiet",
        /// Since API 1.48; JSON of a platform.
        platform: Vec<String> = "platform",
    }

    /// `POST /images/create`: pull or import.
    ImageCreateQuery {
        from_image: Option<String> = "fromImage",
        /// `-` is the body.
        from_src: Option<String> = "fromSrc",
        repo: Option<String> = "repo",
        tag: Option<String> = "tag",
        message: Option<String> = "message",
        /// Lines of a Dockerfile.
        changes: Vec<String> = "changes",
        platform: Option<String> = "platform",
    }

    /// `POST /images/{name}/push`.
    ImagePushQuery {
        /// Absent: all tags of the repository.
        tag: Option<String> = "tag",
        /// Since API 1.46; JSON of a platform.
        platform: Option<String> = "platform",
    }

    /// `GET /images/get` and, without names, `GET /images/{name}/get`.
    ImageSaveQuery {
        names: Vec<String> = "names",
        /// Since API 1.48; JSON of a platform.
        platform: Vec<String> = "platform",
    }

    /// `POST /images/prune`.
    ImagePruneQuery {
        /// `dangling`, `until`, `label` and `label!`.
        filters: Filters = "filters",
    }

    /// `POST /commit`.
    ImageCommitQuery {
        container: Option<String> = "container",
        repo: Option<String> = "repo",
        tag: Option<String> = "tag",
        comment: Option<String> = "comment",
        author: Option<String> = "author",
        /// Whether the container stands still meanwhile; absent: it does.
        pause: Option<bool> = "pause",
        /// Lines of a Dockerfile.
        changes: Vec<String> = "changes",
    }

    /// `POST /ferry/scrub`, which is ours.
    ScrubQuery {
        /// Whether what is damaged is mended where that can be done.
        repair: bool = "repair",
    }

    /// `POST /ferry/layers/convert`, which is ours.
    ConvertLayersQuery {
        /// How layers are to be kept: `erofs` or `directories`.
        driver: Option<String> = "driver",
    }

    /// `GET /images/{name}/json`.
    ImageInspectQuery {
        /// Since API 1.48.
        manifests: bool = "manifests",
        /// Since API 1.49; JSON of a platform.
        platform: Option<String> = "platform",
    }

    /// `GET /images/{name}/history`.
    ImageHistoryQuery {
        /// Since API 1.48; JSON of a platform.
        platform: Option<String> = "platform",
    }

    /// `POST /images/{name}/tag`.
    ImageTagQuery {
        repo: Option<String> = "repo",
        tag: Option<String> = "tag",
    }

    /// `DELETE /images/{name}`.
    ImageRemoveQuery {
        force: bool = "force",
        no_prune: bool = "noprune",
        /// Since API 1.50.
        platforms: Vec<String> = "platforms",
    }

    /// `GET /events`.
    EventsQuery {
        since: Option<String> = "since",
        until: Option<String> = "until",
        filters: Filters = "filters",
    }

    /// `GET /system/df`.
    DiskUsageQuery {
        /// Some of `container`, `image`, `volume` and `build-cache`; none is all. Since API 1.42.
        types: Vec<String> = "type",
    }

    /// `GET /networks`.
    NetworkListQuery {
        filters: Filters = "filters",
    }

    /// `GET /networks/{id}`.
    NetworkInspectQuery {
        verbose: bool = "verbose",
        scope: Option<String> = "scope",
    }

    /// `GET /plugins`.
    PluginListQuery {
        filters: Filters = "filters",
    }

    /// `GET /volumes`.
    VolumeListQuery {
        filters: Filters = "filters",
    }

    /// `DELETE /volumes/{name}`.
    VolumeRemoveQuery {
        force: bool = "force",
    }
}

#[cfg(test)]
mod tests;
