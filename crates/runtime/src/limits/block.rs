//! Block devices.

use ferry_oci::runtime::{BlockIo, ThrottleDevice};
use ferry_sys::cgroup::Version;

use super::{Facts, LimitError, Steps, convert};

pub(super) fn plan<F: Facts>(steps: &mut Steps<'_, F>, limits: &BlockIo) -> Result<(), LimitError> {
    let BlockIo {
        weight,
        leaf_weight,
        weight_device,
        throttle_read_bps_device,
        throttle_write_bps_device,
        throttle_read_iops_device,
        throttle_write_iops_device,
    } = limits;
    let weight = weight.filter(|value| *value != 0);
    if leaf_weight.is_some_and(|value| value != 0)
        || weight_device.iter().any(|device| device.leaf_weight.is_some_and(|value| value != 0))
    {
        let text = "leaf weights of block devices are gone since Linux 5.0";
        return Err(LimitError::Invalid(text.to_owned()));
    }
    let throttles = [
        (throttle_read_bps_device, "read_bps_device", "rbps"),
        (throttle_write_bps_device, "write_bps_device", "wbps"),
        (throttle_read_iops_device, "read_iops_device", "riops"),
        (throttle_write_iops_device, "write_iops_device", "wiops"),
    ];
    let controller = controller(steps);
    if let Some(weight) = weight {
        write_weight(steps, controller, None, weight)?;
    }
    for device in weight_device {
        if let Some(weight) = device.weight.filter(|value| *value != 0) {
            let numbers = (device.major, device.minor);
            write_weight(steps, controller, Some(numbers), weight)?;
        }
    }
    for (devices, file, key) in throttles {
        for ThrottleDevice { major, minor, rate } in devices {
            let what = "block device throughput";
            match steps.need(what, controller)? {
                Version::One => {
                    let file = format!("blkio.throttle.{file}");
                    steps.write(what, controller, file, format!("{major}:{minor} {rate}"))?;
                }
                Version::Two => {
                    // Nothing is no limit, as 0 is in version 1.
                    let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
                    steps.write(
                        what,
                        controller,
                        "io.max",
                        format!("{major}:{minor} {key}={rate}"),
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// The controller's name in the version that is there.
fn controller<F: Facts>(steps: &Steps<'_, F>) -> &'static str {
    if steps.facts.version_of("io").is_some() { "io" } else { "blkio" }
}

fn write_weight<F: Facts>(
    steps: &mut Steps<'_, F>,
    controller: &'static str,
    device: Option<(i64, i64)>,
    weight: u16,
) -> Result<(), LimitError> {
    let what = "block device weight";
    let prefix = device.map(|(major, minor)| format!("{major}:{minor} ")).unwrap_or_default();
    match steps.need(what, controller)? {
        Version::One => {
            let choices: [&'static str; 2] = match device {
                None => ["blkio.weight", "blkio.bfq.weight"],
                Some(_) => ["blkio.weight_device", "blkio.bfq.weight_device"],
            };
            let file = choices
                .into_iter()
                .find(|file| steps.facts.has(controller, file))
                .unwrap_or(choices[0]);
            steps.write(what, controller, file, format!("{prefix}{weight}"))
        }
        // The BFQ scheduler keeps the scale of version 1.
        Version::Two if steps.facts.has(controller, "io.bfq.weight") => {
            steps.write(what, controller, "io.bfq.weight", format!("{prefix}{weight}"))
        }
        Version::Two => {
            let prefix = if device.is_none() { "default ".to_owned() } else { prefix };
            let weight = convert::io_weight(weight);
            steps.write(what, controller, "io.weight", format!("{prefix}{weight}"))
        }
    }
}
