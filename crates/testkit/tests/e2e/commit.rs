//! Containers made into images.

use ferry_testkit::Env;

use crate::lifecycle::wait_for_log;
use crate::pull::scrub;

#[track_caller]
fn run(env: &Env, image: &str, script: &str) -> String {
    env.docker(&["run", "--rm", image, "sh", "-c", script]).ok()
}

#[track_caller]
fn done(env: &Env, name: &str, script: &str) {
    env.docker(&["run", "--name", name, "busybox", "sh", "-c", script]).exits(0);
}

#[test]
fn what_a_container_changed_is_in_the_image() {
    let env = Env::start();
    done(
        &env,
        "changer",
        "echo new >/new; mkdir -p /a/b; echo deep >/a/b/c; ln /a/b/c /a/hard; ln -s /new /a/soft; \
         chown 1000:1001 /new; chmod 6750 /new; rm /etc/group; rm -r /home; mkdir /home; echo h >/home/h; \
         mknod /a/null c 1 3; mkfifo /a/pipe; touch -d @1234567890 /a/b/c; echo more >>/etc/passwd",
    );
    let id = env.docker(&["commit", "-m", "said so", "-a", "A <a@b>", "changer", "changed:1"]).ok();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(
        env.inspect("changed:1", "{{.Id}} {{.Comment}} {{.Author}}"),
        format!("{id} said so A <a@b>")
    );
    assert_eq!(env.inspect("changed:1", "{{len .RootFS.Layers}}"), "2");
    assert_eq!(
        run(&env, "changed:1", "cat /new /a/b/c /a/hard /a/soft /home/h"),
        "new\ndeep\ndeep\nnew\nh"
    );
    assert_eq!(
        run(&env, "changed:1", "stat -c '%a %u %g %h %F' /new /a/b/c /a/null /a/pipe"),
        "6750 1000 1001 1 regular file\n644 0 0 2 regular file\n644 0 0 1 character special file\n644 0 0 1 fifo"
    );
    assert_eq!(
        run(
            &env,
            "changed:1",
            "stat -c %Y /a/b/c; ls /home; ls /etc/group 2>&1; tail -n 1 /etc/passwd"
        ),
        "1234567890\nh\nls: /etc/group: No such file or directory\nmore"
    );
    // What it was made from is as it was.
    assert_eq!(run(&env, "busybox", "ls /home /etc/group"), "/etc/group\n\n/home:\napp");
    let history =
        env.docker(&["history", "--no-trunc", "--format", "{{.Comment}}", "changed:1"]).ok();
    assert_eq!(history.lines().next(), Some("said so"));
    env.docker(&["rm", "changer"]).exits(0);
    assert_eq!(run(&env, "changed:1", "cat /new"), "new", "the image needs no container");
    env.docker(&["rmi", "changed:1"]).exits(0);
    if !env.is_foreign() {
        scrub(&env);
    }
}

#[test]
fn the_configuration_is_the_containers_and_what_is_asked() {
    let env = Env::start();
    env.docker(&[
        "create",
        "--name",
        "configured",
        "-e",
        "A=1",
        "-w",
        "/tmp",
        "-l",
        "k=v",
        "busybox",
        "echo",
        "hi",
    ])
    .exits(0);
    env.docker(&[
        "commit",
        "-c",
        "ENV B=2",
        "-c",
        "CMD [\"sh\", \"-c\", \"echo $A $B; pwd\"]",
        "-c",
        "EXPOSE 80",
        "-c",
        "LABEL x=\"y z\"",
        "-c",
        "USER app",
        "configured",
        "configured:1",
    ])
    .exits(0);
    assert_eq!(env.docker(&["run", "--rm", "configured:1"]).ok(), "1 2\n/tmp");
    let template =
        "{{.Config.User}} {{.Config.Labels.k}} {{.Config.Labels.x}} {{json .Config.ExposedPorts}}";
    assert_eq!(env.inspect("configured:1", template), r#"app v y z {"80/tcp":{}}"#);
    env.docker(&["commit", "configured", "configured:2"]).exits(0);
    assert_eq!(env.docker(&["run", "--rm", "configured:2"]).ok(), "hi");
    env.docker(&["commit", "-c", "RUN true", "configured"])
        .exits(1)
        .says("RUN is not a valid change command");
    env.docker(&["commit", "nope"]).exits(1).says("No such container: nope");
    env.docker(&["commit", "configured", "BAD"]).exits(1).says("must be lowercase");
    env.docker(&["rm", "configured"]).exits(0);
    env.docker(&["rmi", "configured:1", "configured:2"]).exits(0);
}

#[test]
fn a_running_container_goes_on_after_it() {
    let env = Env::start();
    let script = "echo before >/file; echo up; i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.05; done";
    let id = env.run_detached(&["--name", "runs", "busybox", "sh", "-c", script]);
    wait_for_log(&env, &id, "up");
    env.docker(&["commit", "runs", "runs:1"]).exits(0);
    assert_eq!(env.inspect("runs", "{{.State.Status}} {{.State.Paused}}"), "running false");
    let count = || env.docker(&["exec", "runs", "cat", "/count"]).ok();
    let before = count();
    ferry_testkit::wait_until("it goes on", std::time::Duration::from_secs(10), || {
        let now = count();
        (now != before && !now.is_empty()).then_some(())
    });
    env.docker(&["commit", "--pause=false", "runs", "runs:2"]).exits(0);
    env.docker(&["pause", "runs"]).exits(0);
    env.docker(&["commit", "runs", "runs:3"]).exits(0);
    assert_eq!(env.inspect("runs", "{{.State.Status}}"), "paused", "it is left as it was found");
    env.docker(&["unpause", "runs"]).exits(0);
    for name in ["runs:1", "runs:2", "runs:3"] {
        assert_eq!(env.docker(&["run", "--rm", name, "cat", "/file"]).ok(), "before");
    }
    env.docker(&["rm", "-f", "runs"]).exits(0);
    env.docker(&["rmi", "runs:1", "runs:2", "runs:3"]).exits(0);
}

#[test]
fn commits_upon_commits() {
    let env = Env::start();
    done(&env, "first", "mkdir /d; echo 1 >/d/one; echo 1 >/d/two");
    env.docker(&["commit", "first", "chain:1"]).exits(0);
    env.docker(&[
        "run",
        "--name",
        "second",
        "chain:1",
        "sh",
        "-c",
        "rm /d/one; echo 2 >/d/two; rm -r /usr",
    ])
    .exits(0);
    env.docker(&["commit", "second", "chain:2"]).exits(0);
    env.docker(&[
        "run",
        "--name",
        "third",
        "chain:2",
        "sh",
        "-c",
        "rm -r /d; mkdir /d; echo 3 >/d/three; mkdir /usr",
    ])
    .exits(0);
    env.docker(&["commit", "third", "chain:3"]).exits(0);
    assert_eq!(run(&env, "chain:1", "cd /d; ls; cat two"), "one\ntwo\n1");
    assert_eq!(
        run(&env, "chain:2", "cd /d; ls; cat two; ls /usr 2>&1; true"),
        "two\n2\nls: /usr: No such file or directory"
    );
    assert_eq!(run(&env, "chain:3", "cd /d; ls; cat three; ls /usr"), "three\n3");
    // Archives carry it all.
    let archive = env.docker(&["save", "chain:3"]).exits(0).stdout;
    let id = env.inspect("chain:3", "{{.Id}}");
    env.docker(&["rm", "first", "second", "third"]).exits(0);
    env.docker(&["rmi", "chain:3", "chain:2", "chain:1"]).exits(0);
    drop(env.invoke(&["load"]).stdin(archive).run().ok());
    assert_eq!(env.inspect("chain:3", "{{.Id}}"), id);
    assert_eq!(run(&env, "chain:3", "ls /d; ls /usr"), "three");
    env.docker(&["rmi", "chain:3"]).exits(0);
}
