//! Limits of a container's cgroup: from the configuration's words to the kernel's files.
//!
//! [`plan`] is pure and says what is to be written, in order; [`apply`] writes it. The specification
//! speaks the language of cgroup version 1; what version 2 calls otherwise is converted as runc does.
//! A limit for which there is no controller is refused, never passed over.

use std::borrow::Cow;

use ferry_oci::runtime::Resources;
use ferry_sys::SysError;
use ferry_sys::cgroup::{self, Cgroup, DeviceRule, Version};

mod block;
mod convert;
mod cpu;
mod devices;
mod memory;

/// A limit that could not be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// It needs a controller, or a file of one, that is not there.
    #[error("cgroup: {what} can not be limited: {missing} is not available on this host")]
    Missing {
        /// What was to be limited.
        what: &'static str,
        /// The controller or file.
        missing: String,
    },
    /// It makes no sense, or this version of cgroups can not do it.
    #[error("cgroup: {0}")]
    Invalid(String),
    /// The kernel refused it.
    #[error(transparent)]
    Kernel(#[from] SysError),
}

/// One step to a limited cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes a file of a controller.
    Write {
        /// The controller.
        controller: &'static str,
        /// Its file.
        file: Cow<'static, str>,
        /// What to write.
        value: String,
    },
    /// Lets a program decide about devices, version 2.
    Devices(Vec<DeviceRule>),
}

/// What a plan needs to know of a cgroup.
pub trait Facts {
    /// The interface a controller has, if the cgroup has it.
    fn version_of(&self, controller: &str) -> Option<Version>;
    /// Whether a controller has a file.
    fn has(&self, controller: &str, file: &str) -> bool;
    /// The number in a file.
    fn number(&self, controller: &str, file: &str) -> Option<u64>;
    /// Whether there is a unified hierarchy.
    fn unified(&self) -> bool;
}

impl Facts for Cgroup {
    fn version_of(&self, controller: &str) -> Option<Version> {
        Self::version_of(self, controller)
    }

    fn has(&self, controller: &str, file: &str) -> bool {
        Self::has(self, controller, file)
    }

    fn number(&self, controller: &str, file: &str) -> Option<u64> {
        self.read(controller, file).ok()?.trim().parse().ok()
    }

    fn unified(&self) -> bool {
        Self::unified(self).is_some()
    }
}

/// Limits a new cgroup. Without rules for devices it may use those that every container may.
///
/// # Errors
/// [`LimitError`]; some limits may have been set then.
pub fn apply(group: &Cgroup, resources: &Resources) -> Result<(), LimitError> {
    for step in plan(group, resources)? {
        match step {
            Step::Write { controller, file, value } => group.write(controller, &file, &value)?,
            Step::Devices(rules) => {
                let Some(directory) = group.unified() else {
                    return Err(missing("devices", "the unified hierarchy"));
                };
                let program = cgroup::load_device_program(&cgroup::assemble(&rules))?;
                cgroup::attach_device_program(directory, std::os::fd::AsFd::as_fd(&program))?;
            }
        }
    }
    Ok(())
}

/// Says what to write, in order.
///
/// # Errors
/// [`LimitError::Missing`] or [`LimitError::Invalid`].
pub fn plan(facts: &impl Facts, resources: &Resources) -> Result<Vec<Step>, LimitError> {
    let Resources { devices, memory, cpu, pids, block_io, hugepage_limits, network, rdma, unified } =
        resources;
    let mut steps = Steps { facts, steps: Vec::new() };
    devices::plan(&mut steps, devices)?;
    if let Some(memory) = memory {
        memory::plan(&mut steps, memory)?;
    }
    if let Some(cpu) = cpu {
        cpu::plan(&mut steps, cpu)?;
    }
    if let Some(limit) = pids.as_ref().and_then(|pids| pids.limit) {
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        // No limit is what a new group has.
        if limit > 0 || facts.version_of("pids").is_some() {
            steps.write("processes", "pids", "pids.max", value)?;
        }
    }
    if let Some(block_io) = block_io {
        block::plan(&mut steps, block_io)?;
    }
    for limit in hugepage_limits {
        let file = match steps.need("huge pages", "hugetlb")? {
            Version::One => format!("hugetlb.{}.limit_in_bytes", limit.page_size),
            Version::Two => format!("hugetlb.{}.max", limit.page_size),
        };
        if limit.page_size.contains('/') {
            return Err(LimitError::Invalid(format!("bad huge page size {:?}", limit.page_size)));
        }
        steps.write("huge pages", "hugetlb", file, limit.limit.to_string())?;
    }
    if let Some(network) = network {
        if let Some(class) = network.class_id.filter(|class| *class != 0) {
            steps.write("network class", "net_cls", "net_cls.classid", class.to_string())?;
        }
        for priority in &network.priorities {
            let value = format!("{} {}", priority.name, priority.priority);
            steps.write("network priority", "net_prio", "net_prio.ifpriomap", value)?;
        }
    }
    for (device, limit) in rdma {
        let mut value = device.clone();
        for (name, count) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)]
        {
            if let Some(count) = count {
                value.push_str(&format!(" {name}={count}"));
            }
        }
        steps.write("RDMA", "rdma", "rdma.max", value)?;
    }
    for (file, value) in unified {
        unified_file(&mut steps, file, value)?;
    }
    Ok(steps.steps)
}

/// A file of version 2 that the configuration names itself.
fn unified_file<F: Facts>(
    steps: &mut Steps<'_, F>,
    file: &str,
    value: &str,
) -> Result<(), LimitError> {
    const CONTROLLERS: [&str; 9] =
        ["cpu", "cpuset", "memory", "io", "pids", "hugetlb", "rdma", "misc", "dmem"];
    let invalid = |why: &str| Err(LimitError::Invalid(format!("unified resource {file:?} {why}")));
    if file.contains('/') {
        return invalid("must be a file name, not a path");
    }
    let Some((controller, _)) = file.split_once('.') else {
        return invalid("must be in the form CONTROLLER.PARAMETER");
    };
    let Some(controller) = CONTROLLERS.iter().find(|known| **known == controller) else {
        return invalid("can't be set: controller not available");
    };
    match steps.facts.version_of(controller) {
        Some(Version::Two) => {
            steps.write("a unified resource", controller, file.to_owned(), value.to_owned())
        }
        Some(Version::One) | None => invalid("can't be set: controller not available in cgroup v2"),
    }
}

/// A plan in the making.
struct Steps<'a, F: Facts> {
    facts: &'a F,
    steps: Vec<Step>,
}

impl<F: Facts> Steps<'_, F> {
    /// The version of a controller that must be there.
    fn need(&self, what: &'static str, controller: &str) -> Result<Version, LimitError> {
        self.facts
            .version_of(controller)
            .ok_or_else(|| missing(what, &format!("the {controller} controller")))
    }

    /// Adds a write of a file that must be there.
    fn write(
        &mut self,
        what: &'static str,
        controller: &'static str,
        file: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Result<(), LimitError> {
        let file = file.into();
        let _version = self.need(what, controller)?;
        if !self.facts.has(controller, &file) {
            return Err(missing(what, &file));
        }
        self.steps.push(Step::Write { controller, file, value: value.into() });
        Ok(())
    }
}

fn missing(what: &'static str, missing: &str) -> LimitError {
    LimitError::Missing { what, missing: missing.to_owned() }
}

#[cfg(test)]
mod tests;
