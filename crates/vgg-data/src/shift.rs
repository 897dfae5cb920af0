//! Pictures moved by whole pixels, as an evaluation may look at them.

/// Replaces `moved` by `images` (`[picture][y][x][channel]`, each of `[height, width, channels]`)
/// moved `down` and `right`, or up and left where these are negative. What comes in from outside is
/// background, 0.
///
/// # Panics
/// When `images` is not a whole number of pictures.
pub fn shift(
    images: &[u8],
    [height, width, channels]: [usize; 3],
    [down, right]: [isize; 2],
    moved: &mut Vec<u8>,
) {
    let (row, size) = (width * channels, height * width * channels);
    assert!(images.len().is_multiple_of(size), "{} bytes are no pictures of {size}", images.len());
    moved.clear();
    moved.resize(images.len(), 0);
    // From where and to where along a row, and how far.
    let skipped = right.unsigned_abs().min(width) * channels;
    let (from, to) = if right < 0 { (skipped, 0) } else { (0, skipped) };
    for (old, new) in images.chunks_exact(size).zip(moved.chunks_exact_mut(size)) {
        for (y, new) in new.chunks_exact_mut(row).enumerate() {
            if let Some(y) = y.checked_add_signed(-down).filter(|&y| y < height) {
                new[to..to + row - skipped].copy_from_slice(&old[y * row + from..][..row - skipped]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(images: &[u8], shape: [usize; 3], by: [isize; 2]) -> Vec<u8> {
        let mut moved = vec![77; 3];
        shift(images, shape, by, &mut moved);
        moved
    }

    #[test]
    fn pictures_move_and_background_comes_in() {
        let images = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];
        assert_eq!(shifted(&images, [2, 3, 1], [0, 0]), images);
        assert_eq!(shifted(&images, [2, 3, 1], [1, 0]), [0, 0, 0, 1, 2, 3, 0, 0, 0, 11, 12, 13]);
        assert_eq!(shifted(&images, [2, 3, 1], [-1, 1]), [0, 4, 5, 0, 0, 0, 0, 14, 15, 0, 0, 0]);
        assert_eq!(shifted(&images, [2, 3, 1], [0, -2]), [3, 0, 0, 6, 0, 0, 13, 0, 0, 16, 0, 0]);
        assert_eq!(shifted(&images, [2, 2, 3], [0, 1]), [0, 0, 0, 1, 2, 3, 0, 0, 0, 11, 12, 13]);
        assert_eq!(shifted(&images[..1], [1, 1, 1], [0, 1]), [0]);
        assert_eq!(shifted(&images, [2, 3, 1], [-9, 0]), [0; 12]);
        assert_eq!(shifted(&images, [2, 3, 1], [0, 9]), [0; 12]);
    }
}
