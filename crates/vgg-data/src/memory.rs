//! Whether pictures fit into the memory, asked before they are read.

use std::fs::read_to_string;
use std::path::Path;

use crate::error::DataError;

/// What may be taken where the system does not say how much there is.
const USUAL: u64 = 4 << 30;

/// Longest side that a network takes.
const LONGEST_SIDE: usize = 4096;

/// The bytes of one picture of `[height, width, channels]`, if `count` of them fit into the memory.
pub(crate) fn check(
    subject: &str,
    count: usize,
    [height, width, channels]: [usize; 3],
) -> Result<usize, DataError> {
    check_within(available(), subject, count, [height, width, channels])
}

fn check_within(
    available: u64,
    subject: &str,
    count: usize,
    [height, width, channels]: [usize; 3],
) -> Result<usize, DataError> {
    let sides = 1..=LONGEST_SIDE;
    if !sides.contains(&height) || !sides.contains(&width) {
        return Err(DataError::argument(
            "image size",
            format!("{height}x{width} pixels, expected 1 to {LONGEST_SIDE} on each side"),
            "give a size such as 64 or 48x64 (height x width)",
        ));
    }
    let bytes = height * width * channels;
    let wanted = (bytes as u64).saturating_mul(count as u64);
    if wanted > available {
        return Err(DataError::invalid(
            subject,
            format!(
                "{count} pictures of {height}x{width} take {} MB of memory, expected at most {}",
                wanted >> 20,
                available >> 20
            ),
            "give a smaller --image-size, or fewer pictures with --limit",
        ));
    }
    Ok(bytes)
}

/// So many zeros.
pub(crate) fn zeros(subject: &str, bytes: usize) -> Result<Vec<u8>, DataError> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(bytes).map_err(|_| {
        let cause = format!("the pictures take {} MB, more than there is memory for", bytes >> 20);
        DataError::invalid(subject, cause, "give a smaller --image-size, or fewer pictures with --limit")
    })?;
    zeros.resize(bytes, 0);
    Ok(zeros)
}

/// Three quarters of the memory that the system and a container around this process can give: the rest is
/// for the network.
fn available() -> u64 {
    // Linux says it in a line `MemAvailable:   12345 kB`.
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let of_system = kilobytes.map_or(USUAL, |kilobytes| kilobytes.saturating_mul(1024));
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = left_in_groups(Path::new("/sys/fs/cgroup"), &groups);
    of_groups.map_or(of_system, |bytes| bytes.min(of_system)) / 4 * 3
}

/// The least that the control groups of a process leave it, if one of them has a limit. `groups` has a line
/// for each, `0::/path` in version 2 and `4:memory:/path` in version 1; those above it count as well.
fn left_in_groups(root: &Path, groups: &str) -> Option<u64> {
    let left = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (kinds, path) = rest.split_once(':')?;
        let (root, limit, usage) = match kinds {
            "" => (root.to_owned(), "memory.max", "memory.current"),
            _ if kinds.split(',').any(|kind| kind == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => return None,
        };
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().filter_map(|group| left_in_group(&root.join(group), limit, usage)).min()
    });
    left.min()
}

/// What a group has left of its limit, where files that are kept in memory count as free: they give way.
fn left_in_group(group: &Path, limit: &str, usage: &str) -> Option<u64> {
    // No limit is the word `max`, or a number that no machine has.
    let number = |name: &str| read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number(limit)?;
    let statistics = read_to_string(group.join("memory.stat")).unwrap_or_default();
    let kept =
        |name: &str| statistics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let files = |names: [&str; 2]| names.iter().filter_map(|name| kept(name)).reduce(u64::saturating_add);
    let files = files(["total_inactive_file ", "total_active_file "])
        .or_else(|| files(["inactive_file ", "active_file "]));
    let used = number(usage).unwrap_or(0).saturating_sub(files.unwrap_or(0));
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_read() {
        assert_eq!(check_within(1 << 20, "photos", 21, [128, 128, 3]).unwrap(), 128 * 128 * 3);
        let message = check_within(1 << 20, "photos", 22, [128, 128, 3]).unwrap_err().to_string();
        assert!(message.starts_with("photos: 22 pictures of 128x128 take 1 MB"), "{message}");
        assert!(check_within(u64::MAX - 1, "photos", usize::MAX, [4096, 4096, 3]).is_err());
        for size in [[0, 1, 1], [1, 4097, 1]] {
            let error = check_within(1 << 20, "photos", 1, size).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument);
        }
    }

    #[test]
    fn a_container_has_less_than_its_machine() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let left = |groups| left_in_groups(root.path(), groups);
        assert_eq!(left("0::/a/b\n"), None, "there are no such files");
        write("a/memory.max", "3000\n");
        write("a/memory.current", "900\n");
        write("a/memory.stat", "anon 500\ninactive_file 400\n");
        write("a/b/memory.max", "max\n");
        assert_eq!(left("0::/a/b\n"), Some(2500), "what a group above it leaves");
        write("a/b/memory.max", "1000\n");
        assert_eq!(left("0::/a/b\n"), Some(1000));
        assert_eq!(left("0::/\n"), None);
        write("memory/memory.limit_in_bytes", "700\n");
        write("memory/memory.usage_in_bytes", "800\n");
        write("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n");
        // A container often sees the name of its group on the machine, and only its own files.
        assert_eq!(left("5:cpu,cpuacct:/x\n4:memory:/docker/123\n"), Some(200));
        assert_eq!(left("nonsense\n5:cpu:/a/b\n"), None);
    }

    #[test]
    fn a_machine_has_some_memory() {
        assert!(available() > 1 << 20);
    }
}
