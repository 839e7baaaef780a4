//! A cgroup-v2 guest: boots Debian's kernel under emulation with nothing but an initramfs, and runs
//! test programs in it.
//!
//! Development machines often have cgroup v1 or a hybrid layout; this is where version 2 is seen.
//! The guest's root is a tmpfs filled from the initramfs, so a run leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::suite::{self, Tally};
use crate::tools::{self, run};
use crate::{dist, install};

/// Kernel modules the engine needs and Debian's cloud kernel does not have built in.
const MODULES: &[&str] = &[
    "overlay",
    "erofs",
    "loop",
    "bridge",
    "veth",
    "nf_tables",
    "nft_masq",
    "nft_nat",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "br_netfilter",
];

/// How long a guest may take before it is killed, in seconds. Emulation is slow.
const DEADLINE_S: u64 = 1500;

/// What the guest says last, with the exit status of its script.
const ENDED: &str = "guest: script ended with ";

/// Programs the tests call, taken along from this machine.
const TOOLS: &[&str] = &["ip", "nft", "ps", "setsid", "stty", "tmux"];

/// The end-to-end tests that look at cgroups, or at what a different kernel does otherwise.
const SUITE: &[&str] =
    &["exec::", "images::", "isolation::", "lifecycle::", "limits::", "logs::", "network::"];

/// Runs the cgroup tests and the end-to-end suite, or those of its tests that `words` name, in a guest
/// with cgroup version 2.
pub(crate) fn test(words: &[&str]) -> Result<()> {
    let docker = install::for_guest()?.context("the guest's tests need a docker client")?;
    let dist = dist::build()?;
    let mut files = vec![(docker, "/ferry/docker".to_owned())];
    for program in ["ferry", "ferryd", "ferry-supervisor", "ferry-runtime"] {
        files.push((dist.join(program), format!("/ferry/{program}")));
    }
    for tool in TOOLS {
        let found = ferry_testkit::command::find_program(tool);
        files.push((found.with_context(|| format!("no {tool}"))?, format!("/ferry/{tool}")));
    }
    files.push((test_program(&["-p", "ferry-sys", "--lib"])?, "/ferry/sys-tests".to_owned()));
    files.push((test_program(&["-p", "ferry-testkit", "--test", "e2e"])?, "/ferry/e2e".to_owned()));
    let filters = if words.is_empty() { SUITE.join(" ") } else { words.join(" ") };
    let script = format!(
        "export FERRY_BIN_DIR=/ferry FERRY_DOCKER=/ferry/docker RUST_BACKTRACE=1\n\
         cd /tmp && /ferry/sys-tests --test-threads=1 cgroup; first=$?\n\
         /ferry/e2e --test-threads=2 {filters} && exit $first\n"
    );
    let console = boot(&tools::root(), &Guest { files, script })?;
    suite::conclude(console.lines().map(suite::result_of).fold(Tally::default(), |mut sum, one| {
        sum += one;
        sum
    }))
}

/// Builds a test program and gives where it is.
fn test_program(which: &[&str]) -> Result<PathBuf> {
    let messages = run(tools::cargo()
        .args(["test", "--no-run", "--locked", "--message-format=json"])
        .args(which))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["profile"]["test"] == true)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo made no test program of {}", which.join(" ")))
}

/// What goes into a guest, and what it does.
#[derive(Debug)]
struct Guest {
    /// Files to copy: where from, where to.
    files: Vec<(PathBuf, String)>,
    /// The shell script that is the test; its exit status is the verdict.
    script: String,
}

/// Boots `guest`, shows its console, and gives what it said; an error when the script failed.
fn boot(root: &Path, guest: &Guest) -> Result<String> {
    let scratch = root.join("target/guest");
    fs::create_dir_all(&scratch).context("making target/guest")?;
    let kernel = unpack_kernel(&scratch)?;
    let initramfs = scratch.join("initramfs");
    write_initramfs(&initramfs, &kernel, guest)?;
    let image = find_one(&kernel.join("boot"), "vmlinuz-")?;
    let console = watch(tools::command("timeout")
        .arg(DEADLINE_S.to_string())
        .args([
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "3072",
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
            "-append",
            "console=ttyS0 panic=-1 quiet loglevel=3 cgroup_no_v1=all",
        ])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(&initramfs))?;
    let verdict = console.lines().find_map(|line| line.trim().strip_prefix(ENDED));
    match verdict {
        Some("0") => Ok(console),
        Some(code) => bail!("the script in the guest ended with {code}"),
        None => bail!("the guest's script did not end within {DEADLINE_S} s"),
    }
}

/// Runs the guest, showing what its console says while it says it, and gives all of it.
fn watch(command: &mut Command) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting qemu-system-x86_64")?;
    let output = child.stdout.take().context("the guest's console is a pipe of ours")?;
    let mut console = String::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("reading the guest's console")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        println!("{line}");
        console.push_str(line);
        console.push('\n');
    }
    child.wait().context("waiting for the guest")?;
    Ok(console)
}

/// Downloads and unpacks Debian's cloud kernel, once.
fn unpack_kernel(scratch: &Path) -> Result<PathBuf> {
    let unpacked = scratch.join("kernel");
    if unpacked.join("boot").exists() {
        return Ok(unpacked);
    }
    let depends = run(tools::command("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .context("linux-image-cloud-amd64 names no kernel package")?;
    let debs = scratch.join("debs");
    fs::create_dir_all(&debs).context("making the download folder")?;
    run(tools::command("apt-get")
        .args(["-o", "APT::Sandbox::User=root", "download"])
        .arg(format!("linux-image-{package}"))
        .current_dir(&debs))?;
    let deb = find_one(&debs, "linux-image-")?;
    let half = scratch.join("kernel.half");
    if half.exists() {
        fs::remove_dir_all(&half).context("removing a half-unpacked kernel")?;
    }
    run(tools::command("dpkg-deb").arg("-x").arg(deb).arg(&half))?;
    fs::rename(&half, &unpacked).context("publishing the unpacked kernel")?;
    Ok(unpacked)
}

fn find_one(folder: &Path, prefix: &str) -> Result<PathBuf> {
    fs::read_dir(folder)
        .with_context(|| format!("listing {}", folder.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .with_context(|| format!("no {prefix}* in {}", folder.display()))
}

/// The modules and all they depend on, in the order in which they must be loaded.
fn modules_in_order(kernel: &Path) -> Result<Vec<PathBuf>> {
    let base = find_one(&kernel.join("lib/modules"), "")?;
    if !base.join("modules.dep").exists() {
        let version = base.file_name().context("a kernel has a version")?.to_os_string();
        run(tools::command("depmod").arg("-b").arg(kernel).arg(version))?;
    }
    let index = fs::read_to_string(base.join("modules.dep")).context("reading modules.dep")?;
    let builtin = fs::read_to_string(base.join("modules.builtin")).unwrap_or_default();
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for module in MODULES {
        let suffix = format!("/{module}.ko");
        let Some(line) = index.lines().find(|line| {
            line.split(':')
                .next()
                .is_some_and(|path| path.trim_end_matches(".xz").ends_with(&suffix))
        }) else {
            ensure!(builtin.contains(&suffix), "the guest's kernel has no module {module}");
            continue;
        };
        let (path, needs) = line.split_once(':').context("modules.dep has `module: needs`")?;
        // modules.dep lists the needs nearest first, so the deepest is loaded first.
        for name in needs.split_whitespace().rev().chain([path]) {
            if seen.insert(name.to_owned()) {
                order.push(base.join(name));
            }
        }
    }
    Ok(order)
}

/// The program and every library the dynamic linker would load for it.
fn with_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![program.to_path_buf()];
    // `ldd` fails for static programs, which need nothing.
    let Ok(listing) = run(tools::command("ldd").arg(program)) else { return Ok(files) };
    files
        .extend(listing.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    Ok(files)
}

fn write_initramfs(target: &Path, kernel: &Path, guest: &Guest) -> Result<()> {
    let mut archive = Cpio::create(target)?;
    for folder in
        ["bin", "sbin", "etc", "proc", "sys", "dev", "run", "tmp", "root", "modules", "new"]
    {
        archive.folder(folder)?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .context("no busybox; install busybox-static")?;
    archive.file(busybox, "bin/busybox")?;
    let mut load = String::new();
    for module in modules_in_order(kernel)? {
        let name =
            module.file_name().context("a module has a name")?.to_string_lossy().into_owned();
        archive.file(&module, &format!("modules/{name}"))?;
        load.push_str(&format!("insmod /modules/{name}\n"));
    }
    let mut written = BTreeSet::new();
    for (source, destination) in &guest.files {
        for file in with_libraries(source)? {
            let name = if file == *source {
                destination.trim_start_matches('/').to_owned()
            } else {
                file.to_string_lossy().trim_start_matches('/').to_owned()
            };
            if written.insert(name.clone()) {
                archive.parents(&name)?;
                archive.file(&file, &name)?;
            }
        }
    }
    archive.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)?;
    archive.text("etc/group", "root:x:0:\n", 0o644)?;
    archive.text("etc/resolv.conf", "nameserver 192.0.2.53\n", 0o644)?;
    archive.text("test", &guest.script, 0o755)?;
    archive.text("init", INIT_FIRST, 0o755)?;
    archive.text("second", &INIT_SECOND.replace("@load@", &load), 0o755)?;
    archive.finish()
}

/// The initramfs cannot be pivoted away from, so everything moves to a tmpfs first.
const INIT_FIRST: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t tmpfs -o mode=755 none /new
cp -a /bin /sbin /etc /proc /sys /dev /run /tmp /root /modules /test /second /new/
for d in lib lib64 usr ferry var opt; do [ -e /$d ] && cp -a /$d /new/; done
exec switch_root /new /second
";

const INIT_SECOND: &str = "#!/bin/busybox sh
export PATH=/ferry:/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /var/lib
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 none /tmp
mount -t tmpfs none /run
mount -t cgroup2 none /sys/fs/cgroup
@load@ip link set lo up
echo 'guest: up'
sh /test </dev/null 2>&1
echo \"guest: script ended with $?\"
poweroff -f
";

/// A writer of the `newc` cpio format that the kernel unpacks (Documentation/driver-api/early-userspace).
struct Cpio {
    out: std::io::BufWriter<fs::File>,
    folders: BTreeSet<String>,
    inode: u32,
    offset: usize,
}

impl Cpio {
    fn create(path: &Path) -> Result<Self> {
        let file = fs::File::create(path).with_context(|| format!("making {}", path.display()))?;
        let out = std::io::BufWriter::new(file);
        Ok(Self { out, folders: BTreeSet::new(), inode: 1, offset: 0 })
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len()).context("a cpio entry is at most 4 GiB")?;
        let name_size = name.len() + 1;
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}",
            self.inode, 0, 0, 1, 0, 0, 0, 0, 0, 0
        );
        self.inode += 1;
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.offset += bytes.len();
        self.out.write_all(bytes).context("writing the initramfs")
    }

    fn pad(&mut self) -> Result<()> {
        let missing = self.offset.next_multiple_of(4) - self.offset;
        self.put(&[0; 4][..missing])
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        if self.folders.insert(name.to_owned()) { self.entry(name, 0o040_755, &[]) } else { Ok(()) }
    }

    fn parents(&mut self, name: &str) -> Result<()> {
        let folders: Vec<String> =
            name.match_indices('/').map(|(at, _)| name[..at].to_owned()).collect();
        folders.iter().try_for_each(|folder| self.folder(folder))
    }

    fn file(&mut self, source: &Path, name: &str) -> Result<()> {
        let metadata =
            fs::metadata(source).with_context(|| format!("reading {}", source.display()))?;
        if !metadata.is_file() {
            bail!("{} is not a file", source.display());
        }
        debug_assert!(metadata.size() > 0, "a program or module is not empty");
        let content = fs::read(source).with_context(|| format!("reading {}", source.display()))?;
        self.entry(name, 0o100_000 | (metadata.permissions().mode() & 0o777), &content)
    }

    fn text(&mut self, name: &str, content: &str, permissions: u32) -> Result<()> {
        self.entry(name, 0o100_000 | permissions, content.as_bytes())
    }

    fn finish(mut self) -> Result<()> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush().context("writing the initramfs")
    }
}
