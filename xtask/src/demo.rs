//! README's main command: the product at work, on a machine that had nothing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ferry_testkit::wait::poll;
use ferry_testkit::{Client, Env, Image};
use serde_json::json;

use crate::{dist, install, tools};

/// Installs, builds, makes two images, runs containers of both, and cleans up.
pub(crate) fn demo() -> Result<()> {
    tools::need_root("the demonstration")?;
    install::for_demo()?;
    dist::ensure_built()?;
    let folder = tools::target().join("demo");
    fs::create_dir_all(&folder).context("making the demonstration's folder")?;
    let busybox = folder.join("busybox.tar");
    fs::write(&busybox, Image::busybox().docker_archive(&["busybox:latest"]))
        .context("writing the busybox image")?;
    let debian = debian(&folder)?;

    say("an engine on a root of its own");
    let env = Env::builder().own().without_busybox().without_leak_check().start();
    println!("DOCKER_HOST={}", env.host());
    let show = Show { env };
    show.run(&["load", "-i", &busybox.to_string_lossy()])?;
    show.run(&["load", "-i", &debian.to_string_lossy()])?;
    show.run(&["images"])?;

    say("containers of both images");
    show.run(&["run", "--rm", "busybox", "echo", "hello from busybox"])?;
    show.run(&["run", "--rm", "debian", "sh", "-c", "head -n 1 /etc/os-release; id; hostname"])?;
    show.run(&["run", "--rm", "--memory", "64m", "--read-only", "busybox", "ip", "-4", "addr"])?;

    say("a server, seen from the host");
    let serve = "mkdir /www && echo it works >/www/index.html && exec httpd -f -v -h /www";
    show.run(&["run", "-d", "--name", "web", "busybox", "sh", "-c", serve])?;
    let address = show.env.inspect("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    fetch(&address)?;
    show.run(&["exec", "web", "ps"])?;
    show.run(&["ps"])?;

    say("the engine is killed and started again; the server did not notice");
    let mut show = show;
    show.env.kill_engine();
    fetch(&address)?;
    show.env.start_engine();
    fetch(&address)?;
    show.run(&["ps"])?;
    show.run(&["logs", "web"])?;
    show.run(&["rm", "-f", "web"])?;
    show.run(&["ps", "-a"])?;
    drop(show);
    say("done; nothing is left");
    Ok(())
}

fn say(what: &str) {
    println!("\n== {what}");
}

/// Fetches the page, which a server that has just been started may not give at once.
fn fetch(address: &str) -> Result<()> {
    println!("GET http://{address}/");
    let page = poll(Duration::from_secs(10), || get(address).ok().filter(|page| !page.is_empty()));
    println!("{}", page.with_context(|| format!("{address} does not answer"))?);
    Ok(())
}

fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, 80))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, page)| page.trim().to_owned()).unwrap_or_default())
}

struct Show {
    env: Env,
}

impl Show {
    /// Runs `ferry` and shows what a person would see.
    fn run(&self, words: &[&str]) -> Result<()> {
        let invocation = self.env.client(Client::Ferry, words);
        println!("$ {}", invocation.line());
        let output = invocation.deadline(Duration::from_secs(300)).run();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        print!("{}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.code == 0, "`{}` ended with {}", output.line, output.code);
        Ok(())
    }
}

/// An image of the Debian that this machine runs, made once.
fn debian(folder: &std::path::Path) -> Result<PathBuf> {
    let archive = folder.join("debian.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let suite = suite_name()?;
    say(&format!("an image of Debian {suite}, by debootstrap (once)"));
    let root = folder.join("debian.half");
    if root.exists() {
        fs::remove_dir_all(&root).context("removing a half-made Debian")?;
    }
    tools::run(tools::command("debootstrap").args(["--variant=minbase", &suite]).arg(&root))?;
    let layer = folder.join("debian.layer.tar");
    tools::run(
        tools::command("tar")
            .arg("-C")
            .arg(&root)
            .args(["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"])
            .args(["--exclude=./proc/*", "--exclude=./sys/*"])
            .arg("-cf")
            .arg(&layer)
            .arg("."),
    )?;
    let bytes = fs::read(&layer).context("reading Debian's layer")?;
    let image = Image::new(vec![bytes]).with("Cmd", json!(["bash"]));
    let half = folder.join("debian.tar.half");
    fs::write(&half, image.docker_archive(&["debian:latest"])).context("writing the image")?;
    fs::rename(&half, &archive).context("publishing the image")?;
    fs::remove_file(&layer).context("removing the layer")?;
    fs::remove_dir_all(&root).context("removing the half-made Debian")?;
    Ok(archive)
}

fn suite_name() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    // A Debian without a code name is testing or unstable.
    Ok(name.map_or_else(|| "sid".into(), |name| name.trim_matches('"').into()))
}
