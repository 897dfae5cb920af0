//! Text from outside in messages: names, keys and whatever a file claims.

/// `text` on one line of at most `most` characters. Characters that end a line, move the cursor or
/// turn the direction of writing are escaped, as a file's content must not be able to speak to a
/// terminal; a longer text loses its middle, so that a path keeps the file's name.
pub fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if speaks_to_terminals(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    let length = line.chars().count();
    if length <= most {
        return line;
    }
    let kept = most.saturating_sub(1);
    let (start, end) = (kept / 2, kept - kept / 2);
    line.chars().take(start).chain(['…']).chain(line.chars().skip(length - end)).collect()
}

/// Controls, line separators, and marks that change the direction of writing.
fn speaks_to_terminals(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_stays_and_the_rest_is_escaped() {
        assert_eq!(one_line("Bilder/schön \"é\" 日本.png", 40), "Bilder/schön \"é\" 日本.png");
        assert_eq!(one_line("a\nb\r\u{1b}[2J\u{202e}\u{85}", 40), "a\\nb\\r\\u{1b}[2J\\u{202e}\\u{85}");
    }

    #[test]
    fn long_text_loses_its_middle() {
        assert_eq!(one_line("0123456789", 10), "0123456789");
        assert_eq!(one_line("0123456789a", 10), "0123…6789a");
        assert_eq!(one_line(&"\n".repeat(9), 5), "\\n…\\n");
        assert_eq!(one_line("ab", 1), "…");
    }
}
