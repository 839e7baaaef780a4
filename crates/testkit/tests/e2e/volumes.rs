//! Volumes: nothing takes their content away but who removes them.

use std::fs;

use ferry_testkit::Env;

#[test]
fn volumes_outlive_the_loss_of_the_database() {
    let mut env = Env::builder().own().start();
    env.docker(&["run", "--rm", "-v", "keep:/data", "busybox", "sh", "-c", "echo kept >/data/x"])
        .exits(0);
    env.stop_engine();
    for entry in fs::read_dir(env.data_root()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("ferry.db") {
            fs::remove_file(path).unwrap();
        }
    }
    // What does not belong there does not keep the engine from starting.
    let volumes = env.data_root().join("volumes");
    fs::write(volumes.join("stray"), "").unwrap();
    env.start_engine();
    assert_eq!(env.docker(&["volume", "ls", "-q"]).ok(), "keep");
    assert_eq!(fs::read_to_string(volumes.join("keep/_data/x")).unwrap(), "kept\n");
    assert!(volumes.join("stray").exists());
}

#[test]
fn containers_made_at_once_on_a_new_volume_all_get_it_filled() {
    let env = Env::start();
    std::thread::scope(|scope| {
        let each = || {
            let run = ["run", "--rm", "-v", "shared:/etc", "busybox", "cat", "/etc/passwd"];
            assert!(env.docker(&run).ok().contains("root:"));
        };
        for _ in 0..6 {
            scope.spawn(each);
        }
    });
    env.docker(&["volume", "rm", "shared"]).exits(0);
}
