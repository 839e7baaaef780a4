//! What the image says where the request says nothing.

use std::collections::BTreeSet;

use ferry_oci::image::RunConfig;

use super::{ContainerSpec, StopTimeout};

impl ContainerSpec {
    /// Completes the spec with the image's configuration, by Docker's rules: entrypoint and command
    /// go together, variables and labels of the request win, volumes and ports add up.
    pub fn merge_image(&mut self, image: &RunConfig) {
        if self.user.is_empty() {
            self.user.clone_from(&image.user);
        }
        if self.working_dir.is_empty() {
            self.working_dir.clone_from(&image.working_dir);
        }
        if self.stop_signal.is_none() && !image.stop_signal.is_empty() {
            self.stop_signal = Some(image.stop_signal.clone());
        }
        if self.stop_timeout.is_none() {
            self.stop_timeout = image.stop_timeout.map(StopTimeout::from_seconds);
        }
        self.merge_command(image);
        self.merge_env(image.env.as_deref().unwrap_or_default());
        for (name, value) in image.labels.iter().flatten() {
            self.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self.volumes.extend(image.volumes.iter().flat_map(|volumes| volumes.keys().cloned()));
        self.exposed_ports.extend(image.exposed_ports.iter().flat_map(|ports| {
            ports.keys().map(|port| match port.contains('/') {
                true => port.clone(),
                false => format!("{port}/tcp"),
            })
        }));
    }

    fn merge_command(&mut self, image: &RunConfig) {
        let entrypoint_is_empty = self.entrypoint.as_ref().is_none_or(Vec::is_empty);
        if entrypoint_is_empty {
            if self.command.as_ref().is_none_or(Vec::is_empty) {
                self.command.clone_from(&image.cmd);
            }
            if self.entrypoint.is_none() {
                self.entrypoint.clone_from(&image.entrypoint);
            }
        }
        // Compat: `--entrypoint ""` clears the image's.
        if self.entrypoint.as_ref().is_some_and(|words| words.len() == 1 && words[0].is_empty()) {
            self.entrypoint = None;
        }
    }

    fn merge_env(&mut self, image: &[String]) {
        let names: BTreeSet<&str> = self.env.iter().map(|entry| name_of(entry)).collect();
        let missing: Vec<String> =
            image.iter().filter(|entry| !names.contains(name_of(entry))).cloned().collect();
        self.env.extend(missing);
    }

    /// The program and its arguments; empty when there is no program.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let entrypoint = self.entrypoint.iter().flatten();
        entrypoint.chain(self.command.iter().flatten()).cloned().collect()
    }
}

/// The name of a `NAME=value` entry.
pub(crate) fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn some(text: Option<&str>) -> Option<Vec<String>> {
        text.map(words)
    }

    #[track_caller]
    fn check(
        asked: (Option<&str>, Option<&str>),
        image: (Option<&str>, Option<&str>),
        expect: &str,
    ) {
        let mut spec = ContainerSpec {
            entrypoint: some(asked.0),
            command: some(asked.1),
            ..ContainerSpec::default()
        };
        let image =
            RunConfig { entrypoint: some(image.0), cmd: some(image.1), ..RunConfig::default() };
        spec.merge_image(&image);
        assert_eq!(spec.arguments(), words(expect));
    }

    #[test]
    fn entrypoint_and_command_go_together() {
        check((None, None), (Some("e"), Some("c d")), "e c d");
        check((None, Some("x")), (Some("e"), Some("c")), "e x");
        check((Some("y"), None), (Some("e"), Some("c")), "y");
        check((Some("y"), Some("x")), (Some("e"), Some("c")), "y x");
        check((None, None), (None, Some("sh")), "sh");
        check((Some(""), Some("x")), (Some("e"), Some("c")), "x");
        check((None, None), (None, None), "");
    }

    #[test]
    fn an_entrypoint_of_one_empty_word_clears_the_images() {
        let mut spec =
            ContainerSpec { entrypoint: Some(vec![String::new()]), ..ContainerSpec::default() };
        let image =
            RunConfig { entrypoint: some(Some("e")), cmd: some(Some("c")), ..RunConfig::default() };
        spec.merge_image(&image);
        assert_eq!((spec.entrypoint, spec.command), (None, None));
    }

    #[test]
    fn variables_and_labels_of_the_request_win() {
        let mut spec = ContainerSpec {
            env: words("B=2 A"),
            labels: [("l".to_owned(), "mine".to_owned())].into(),
            ..ContainerSpec::default()
        };
        let image = RunConfig {
            env: some(Some("PATH=/bin A=1 B=1")),
            labels: Some([("l".into(), "its".into()), ("m".into(), "its".into())].into()),
            ..RunConfig::default()
        };
        spec.merge_image(&image);
        assert_eq!(spec.env, words("B=2 A PATH=/bin"));
        assert_eq!((spec.labels["l"].as_str(), spec.labels["m"].as_str()), ("mine", "its"));
    }
}
