//! Numbers of system calls by name and architecture.

/// An architecture as seccomp tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

/// In the numbers of x32's calls, the bit that tells them from those of x86-64.
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Architecture {
    /// The architecture this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The architecture this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// `AUDIT_ARCH_…`, which x86-64 and x32 share.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments are 64 bits wide.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }
}

/// Sorted by name; a column per architecture, in the order of [`Architecture`]; x32 without its bit.
const TABLE: &str = include_str!("syscalls.tsv");

/// The number of a system call.
#[must_use]
pub fn number(name: &str, architecture: Architecture) -> Option<u32> {
    Table::parse().row(name)?.number(architecture)
}

/// The table, ready for many questions.
pub(super) struct Table(Vec<(&'static str, &'static str)>);

/// One call's numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row(&'static str);

impl Table {
    pub(super) fn parse() -> Self {
        Self(TABLE.lines().filter_map(|line| line.split_once('\t')).collect())
    }

    pub(super) fn row(&self, name: &str) -> Option<Row> {
        let index = self.0.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        self.0.get(index).map(|(_, numbers)| Row(numbers))
    }
}

impl Row {
    pub(super) fn number(self, architecture: Architecture) -> Option<u32> {
        let number = self.0.split('\t').nth(architecture.column())?.parse().ok()?;
        Some(if architecture == Architecture::X32 { number | X32_BIT } else { number })
    }
}
