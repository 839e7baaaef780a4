//! A numbered place on this machine that one environment has to itself.
//!
//! Everything an engine under test leaves on the host is named after the number: bridge, subnet,
//! cgroup parent, folders. The number is held by a file lock, so parallel tests never meet, and what
//! a killed test left behind is found by its number and swept by the next one.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::leaks;

/// 10.200.0.0/24 to 10.249.249.0/24.
const COUNT: u32 = 50 * 250;
const LOCKS: &str = "/run/ferry-test";

/// A held slot.
#[derive(Debug)]
pub struct Slot {
    number: u32,
    lock: File,
}

impl Slot {
    /// Takes a free slot, and sweeps slots whose holders died.
    ///
    /// # Panics
    /// When the machine has no room for the locks, or every slot is taken.
    #[must_use]
    pub fn take() -> Self {
        fs::create_dir_all(LOCKS).expect("making the folder of slot locks; are you root?");
        sweep_abandoned();
        // Starting somewhere else each time, names are not reused while the kernel still forgets.
        let start = std::process::id().wrapping_mul(37);
        (0..COUNT)
            .map(|step| start.wrapping_add(step) % COUNT)
            .find_map(Self::try_take)
            .expect("one of 12,500 slots is free")
    }

    fn try_take(number: u32) -> Option<Self> {
        let mut slot = Self::lock(number)?;
        slot.lock.set_len(0).and_then(|()| slot.lock.rewind()).ok()?;
        writeln!(slot.lock, "{}", std::process::id()).ok()?;
        Some(slot)
    }

    fn lock(number: u32) -> Option<Self> {
        let path = Path::new(LOCKS).join(format!("slot-{number}"));
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .ok()?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { number, lock })
    }

    /// Where the engine keeps sockets; short, for a socket's name has 107 bytes.
    #[must_use]
    pub fn exec_root(&self) -> PathBuf {
        PathBuf::from(format!("/run/fy{}", self.number))
    }

    /// The folder of everything else.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let base = std::env::var_os("FERRY_TEST_DIR").unwrap_or_else(|| "/var/tmp".into());
        Path::new(&base).join(format!("ferry-test-{}", self.number))
    }

    /// The name of the bridge.
    #[must_use]
    pub fn bridge(&self) -> String {
        format!("fyt{}", self.number)
    }

    /// The first three numbers of the subnet.
    #[must_use]
    pub fn subnet(&self) -> String {
        format!("10.{}.{}", 200 + self.number / 250, self.number % 250)
    }

    /// The bridge's address, with the length of the prefix.
    #[must_use]
    pub fn bridge_address(&self) -> String {
        format!("{}.1/24", self.subnet())
    }

    /// The cgroup that is parent of all containers'.
    #[must_use]
    pub fn cgroup_parent(&self) -> String {
        format!("/ferry-test-{}", self.number)
    }

    /// Words by which anything of this slot's is known.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        vec![
            self.exec_root().to_string_lossy().into_owned(),
            self.folder().to_string_lossy().into_owned(),
            self.bridge(),
            self.cgroup_parent(),
        ]
    }

    /// Says that nothing is left, so nobody need sweep.
    pub fn clean(&mut self) {
        drop(self.lock.set_len(0));
    }
}

fn sweep_abandoned() {
    let Ok(entries) = fs::read_dir(LOCKS) else { return };
    for entry in entries.filter_map(Result::ok) {
        let used = entry.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("slot-")?.parse().ok());
        let Some(number) = number.filter(|_| used) else { continue };
        if let Some(mut slot) = Slot::lock(number) {
            leaks::sweep(&slot);
            slot.clean();
        }
    }
}
