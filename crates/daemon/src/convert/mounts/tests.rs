use super::*;

#[track_caller]
fn check(text: &str, expect: Result<&str, &str>) {
    let got = bind(text, "").map(|request| {
        let MountRequest { target, source, read_only, form: _ } = request;
        let access = if read_only { "ro" } else { "rw" };
        match source {
            MountSource::Bind { path, propagation, .. } => {
                format!(
                    "bind {path} {target} {access} {}",
                    propagation.map_or("-", Propagation::name)
                )
            }
            MountSource::Volume { name, no_copy, .. } => {
                format!("volume {} {target} {access} {no_copy}", name.as_deref().unwrap_or("-"))
            }
            MountSource::Tmpfs { .. } => "tmpfs".to_owned(),
        }
    });
    assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned), "{text}");
}

#[test]
fn a_bind_is_a_source_a_target_and_options() {
    check("/a:/b", Ok("bind /a /b rw -"));
    check("/a/../c//d/:/b/.", Ok("bind /c/d /b rw -"));
    check("/a:/b:ro,rslave,z", Ok("bind /a /b ro rslave"));
    check("v:/b:nocopy", Ok("volume v /b rw true"));
    check("/b", Ok("volume - /b rw false"));
}

#[test]
fn a_bad_bind_is_refused_in_docker_s_words() {
    check("", Err("invalid volume specification: ''"));
    check("/a:ro", Err("invalid volume specification: '/a:ro'"));
    check("/a:/b:/c:/d", Err("invalid volume specification: '/a:/b:/c:/d'"));
    check(":/b", Err("invalid volume specification: ':/b'"));
    check("/a:/b:rx", Err("invalid mode: rx"));
    check("/a:/b:ro,rw", Err("invalid mode: ro,rw"));
    check(
        "/a:/",
        Err(
            "invalid volume specification: '/a:/': invalid specification: destination can't be '/'",
        ),
    );
}
