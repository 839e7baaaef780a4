use super::parser::read_flags;
use super::{Matches, grammar, help, parse};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn matches(path: &str, line: &str) -> Result<Matches, String> {
    let command = grammar::find(path).unwrap();
    parse("docker", path, &command, &words(line)).map_err(|failure| failure.message)
}

#[track_caller]
fn check(path: &str, line: &str, expect: &str) {
    let got = match matches(path, line) {
        Ok(matches) => format!("{:?} {:?}", matches.values, matches.args),
        Err(message) => message.lines().next().unwrap_or_default().to_owned(),
    };
    assert_eq!(got, expect, "{path} {line}");
}

#[test]
fn every_command_of_the_grammar_is_whole() {
    let mut count = 0;
    for (names, about) in grammar::all() {
        let command = grammar::find(names[0]).unwrap();
        assert!(!about.is_empty() && about == command.about, "{names:?}");
        assert!(command.least_args <= command.most_args, "{names:?}");
        for (at, flag) in command.flags.iter().enumerate() {
            let twins = |other: &super::Flag| {
                other.long == flag.long || other.short.is_some() && other.short == flag.short
            };
            assert!(!command.flags[at + 1..].iter().any(twins), "{names:?} --{}", flag.long);
            assert!(flag.is_hidden || !flag.help.is_empty(), "{names:?} --{}", flag.long);
        }
        count += 1;
    }
    assert!(count > 35, "{count}");
    assert_eq!(grammar::find("run").unwrap().flags.len(), 107);
    assert!(grammar::find("nope").is_none());
}

#[test]
fn flags_are_read_as_pflag_reads_them() {
    check("ps", "-aq", r#"[("all", "true"), ("quiet", "true")] []"#);
    check("ps", "-aq=false -n5", r#"[("all", "true"), ("quiet", "false"), ("last", "5")] []"#);
    check("ps", "--last=0x10 --filter Name=x", r#"[("last", "16"), ("filter", "name=x")] []"#);
    check("rm", "-f a -v b", r#"[("force", "true"), ("volumes", "true")] ["a", "b"]"#);
    check("rm", "a -- -b", r#"[] ["a", "-b"]"#);
    check(
        "run",
        "-it busybox -it",
        r#"[("interactive", "true"), ("tty", "true")] ["busybox", "-it"]"#,
    );
    check("run", "-eA=1 --net=x i", r#"[("env", "A=1"), ("network", "x")] ["i"]"#);
    check("stop", "--time 3 a", r#"[("timeout", "3")] ["a"]"#);
    check(
        "run",
        "-m 1g --cpus .5 --health-interval 1m i",
        r#"[("memory", "1073741824"), ("cpus", "500000000"), ("health-interval", "60000000000")] ["i"]"#,
    );
}

#[test]
fn mistakes_are_told_as_docker_tells_them() {
    check("ps", "--nope", "unknown flag: --nope");
    check("ps", "-ax", "unknown shorthand flag: 'x' in -x");
    check("ps", "-n", "flag needs an argument: 'n' in -n");
    check("ps", "--last", "flag needs an argument: --last");
    check("ps", "--=x", "bad flag syntax: --=x");
    check(
        "ps",
        "--all=maybe",
        "invalid argument \"maybe\" for \"-a, --all\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
    );
    check("ps", "x", "docker: 'docker ps' accepts no arguments");
    check("rm", "", "docker: 'docker rm' requires at least 1 argument");
    check("rename", "a", "docker: 'docker rename' requires 2 arguments");
    check("port", "", "docker: 'docker port' requires at least 1 and at most 2 arguments");
    check("images", "a b", "docker: 'docker images' requires at most 1 argument");
    assert_eq!(
        matches("container rm", "--nope").unwrap_err(),
        "unknown flag: --nope\n\nUsage:  docker container rm [OPTIONS] CONTAINER [CONTAINER...]\n\n\
         Run 'docker container rm --help' for more information"
    );
}

#[test]
fn help_is_asked_for_in_two_ways() {
    assert!(matches("rm", "--help").unwrap().wants_help);
    let short = matches("rm", "-h").unwrap();
    assert!(short.wants_help);
    assert_eq!(short.notes, ["Flag shorthand -h has been deprecated, use --help"]);
    let command = grammar::find("run").unwrap();
    let hostname = read_flags(&command.flags, &words("-h name image"), false).unwrap();
    assert_eq!(hostname.text("hostname"), "name");
}

#[test]
fn help_is_laid_out_as_docker_s() {
    let text = help::command("docker", "rm", &grammar::find("rm").unwrap());
    assert_eq!(
        text,
        "Usage:  docker rm [OPTIONS] CONTAINER [CONTAINER...]\n\n\
         Remove one or more containers\n\n\
         Aliases:\n  docker container rm, docker container remove, docker rm\n\n\
         Options:\n\
         \x20 -f, --force     Force the removal of a running container (uses SIGKILL)\n\
         \x20 -l, --link      Remove the specified link\n\
         \x20 -v, --volumes   Remove anonymous volumes associated with the container\n"
    );
    assert!(
        help::group("docker", "volume", "Manage volumes")
            .contains("\n  ls          List volumes\n")
    );
}
