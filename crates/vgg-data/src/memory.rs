//! Whether pictures fit into the memory, asked before they are read.

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

/// Three quarters of the memory that the system can give: the rest is for the network.
fn available() -> u64 {
    // Linux says it in a line `MemAvailable:   12345 kB`.
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.map_or(USUAL, |kilobytes| kilobytes.saturating_mul(1024) / 4 * 3)
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
    fn a_machine_has_some_memory() {
        assert!(available() > 1 << 20);
    }
}
