//! A picture as text: plain ASCII, so that it survives pipes, logs and any terminal.

/// Shades from background to full ink.
const SHADES: &[u8] = b" .:-=+*#%@";

/// Draws `pixels`, `[y][x][channel]`, one line for each row and two characters for each pixel, which
/// makes it about square; the mean of the channels chooses the shade. Lines carry no blanks at their end.
///
/// # Panics
/// When `pixels` is shorter than `height × width × channels`, or `channels` is 0.
pub fn draw(pixels: &[u8], height: usize, width: usize, channels: usize) -> String {
    let mut text = String::new();
    for row in 0..height {
        let line = &pixels[row * width * channels..][..width * channels];
        let mut drawn = String::new();
        for pixel in line.chunks_exact(channels) {
            let mean = pixel.iter().map(|&value| usize::from(value)).sum::<usize>() / channels;
            let shade = char::from(SHADES[mean * SHADES.len() / 256]);
            drawn.extend([shade, shade]);
        }
        text.push_str(drawn.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_follow_the_brightness() {
        assert_eq!(draw(&[0, 255, 0, 128, 26, 0], 2, 3, 1), "  @@\n++..\n");
        assert_eq!(draw(&[255, 255, 255, 30, 0, 0], 1, 2, 3), "@@\n");
    }
}
