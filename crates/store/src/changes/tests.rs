use super::*;

/// Applies changes to an empty configuration and shows it as JSON.
#[track_caller]
fn check(changes: &[&str], expect: &str) {
    let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    let mut config = RunConfig::default();
    apply(&mut config, &changes).unwrap();
    assert_eq!(serde_json::to_string(&config).unwrap(), expect);
}

#[track_caller]
fn refused(change: &str, words: &str) {
    let error = apply(&mut RunConfig::default(), &[change.to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), words, "{change}");
}

#[test]
fn commands_are_lists_or_lines_for_the_shell() {
    check(&[r#"CMD ["x", "y"]"#], r#"{"Cmd":["x","y"]}"#);
    check(&["cmd echo  hi"], r#"{"Cmd":["/bin/sh","-c","echo  hi"]}"#);
    check(&["CMD"], r#"{"Cmd":["/bin/sh","-c"]}"#);
    check(&[r#"CMD ["a"#], r#"{"Cmd":["/bin/sh","-c","[\"a"]}"#);
    check(&[r#"CMD ["x"]"#, r#"ENTRYPOINT ["y"]"#], r#"{"Entrypoint":["y"],"Cmd":["x"]}"#);
    refused("CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only");
}

#[test]
fn variables_are_those_of_the_lines_before() {
    check(
        &[r#"ENV A=b C="d e" D=a\ b"#, "ENV X y  z"],
        r#"{"Env":["A=b","C=d e","D=a b","X=y  z"]}"#,
    );
    check(&["ENV A=1", "ENV B=$A-${A}-x A=3"], r#"{"Env":["A=3","B=1-1-x"]}"#);
    check(&["ENV PATH=/x:$PATH A=$B"], r#"{"Env":["PATH=/x:","A="]}"#);
    check(
        &["ENV A=a E=", "ENV B=${A:+x}${E:-y}${E-z}${N:-$A}${N:+no}"],
        r#"{"Env":["A=a","E=","B=xya"]}"#,
    );
    check(&[r#"ENV A "b c""#], r#"{"Env":["A=b c"]}"#);
    refused("ENV", "ENV requires at least one argument");
    refused("ENV A", "ENV must have two arguments");
    refused("ENV =x", "ENV names can not be blank");
    refused("ENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value");
    refused("ENV a=${b#c}", "unsupported modifier (#) in substitution");
    refused("ENV a='b", "unexpected end of statement while looking for matching quote");
}

#[test]
fn labels_ports_and_volumes_are_sets() {
    check(
        &[r#"LABEL a=b "c d"="e f""#, "LABEL x y z", "LABEL q='$X' d=$X"],
        r#"{"Labels":{"a":"b","c d":"e f","d":"","q":"$X","x":"y z"}}"#,
    );
    check(
        &["EXPOSE 80 90-91/udp 5000:81 80/TCP"],
        r#"{"ExposedPorts":{"80/tcp":{},"81/tcp":{},"90/udp":{},"91/udp":{}}}"#,
    );
    check(&["VOLUME /x /y", r#"VOLUME ["/a b"]"#], r#"{"Volumes":{"/a b":{},"/x":{},"/y":{}}}"#);
    refused("EXPOSE x", "Invalid containerPort: x");
    refused("EXPOSE 90-80", "Invalid containerPort: 90-80");
    refused("EXPOSE 70000", "Invalid containerPort: 70000");
    refused("EXPOSE 80/foo", "Invalid proto: foo");
    refused("EXPOSE", "EXPOSE requires at least one argument");
    refused("LABEL x", "LABEL must have two arguments");
    refused("VOLUME", "VOLUME requires at least one argument");
    refused("VOLUME $X", "VOLUME specified can not be an empty string");
}

#[test]
fn directories_follow_one_another() {
    check(&["WORKDIR /a", "WORKDIR b/../c", "USER 1:2"], r#"{"User":"1:2","WorkingDir":"/a/c"}"#);
    check(&["WORKDIR rel"], r#"{"WorkingDir":"/rel"}"#);
    refused("WORKDIR $A", "cannot normalize nothing");
    refused("WORKDIR", "WORKDIR requires exactly one argument");
    refused("USER", "USER requires exactly one argument");
}

#[test]
fn healthchecks_have_flags() {
    check(
        &["HEALTHCHECK --interval=5s --retries=3 --timeout=1m0.5s CMD true || x"],
        r#"{"Healthcheck":{"Test":["CMD-SHELL","true || x"],"Interval":5000000000,"Timeout":60500000000,"Retries":3}}"#,
    );
    check(&["HEALTHCHECK NONE"], r#"{"Healthcheck":{"Test":["NONE"]}}"#);
    check(&[r#"HEALTHCHECK CMD ["a","b"]"#], r#"{"Healthcheck":{"Test":["CMD","a","b"]}}"#);
    refused("HEALTHCHECK", "HEALTHCHECK requires at least one argument");
    refused("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD");
    refused("HEALTHCHECK x", "Unknown type \"X\" in HEALTHCHECK (try CMD)");
    refused("HEALTHCHECK --foo=1 CMD x", "unknown flag: --foo");
    refused("HEALTHCHECK --interval=x CMD x", "time: invalid duration \"x\"");
    refused("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms");
}

#[test]
fn signals_and_triggers_are_checked() {
    check(&["STOPSIGNAL SIGINT"], r#"{"StopSignal":"SIGINT"}"#);
    check(&["STOPSIGNAL rtmin+3"], r#"{"StopSignal":"rtmin+3"}"#);
    check(&["ONBUILD RUN x  y", "ONBUILD copy a b"], r#"{"OnBuild":["RUN x  y","copy a b"]}"#);
    refused("STOPSIGNAL FOO", "invalid signal: FOO");
    refused("STOPSIGNAL a b", "invalid signal: a b");
    refused("STOPSIGNAL", "STOPSIGNAL requires exactly one argument");
    refused("ONBUILD", "ONBUILD requires at least one argument");
    refused("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger");
    refused("ONBUILD onbuild RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    refused("ONBUILD nope", "unknown instruction: nope");
}

#[test]
fn lines_may_be_many_and_long() {
    check(&["CMD a\nENV b=c"], r#"{"Env":["b=c"],"Cmd":["/bin/sh","-c","a"]}"#);
    check(&["# remark\nENV b=c \\\n  d=e"], r#"{"Env":["b=c","d=e"]}"#);
    refused("RUN x", "RUN is not a valid change command");
    refused("add x y", "add is not a valid change command");
    refused("", "file with no instructions");
}
