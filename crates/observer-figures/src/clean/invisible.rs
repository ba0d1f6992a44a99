//! Characters without a glyph.

/// Ranges of characters that show nothing, change the direction of text, or carry hidden text: the
/// default-ignorable code points (Unicode 16, `DerivedCoreProperties.txt`), the interlinear
/// annotations, fillers, and the planes for private use. Tag characters (U+E0000…) can hold a whole
/// instruction that no person sees.
const RANGES: [(char, char); 21] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{fffe}', '\u{ffff}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    ('\u{f0000}', '\u{ffffd}'),
    ('\u{100000}', '\u{10fffd}'),
];

/// Reports whether a character is invisible or changes the direction of the text around it.
///
/// ```
/// use observer_figures::clean::is_invisible;
///
/// assert!(is_invisible('\u{202e}') && is_invisible('\u{200b}'));
/// assert!(!is_invisible('é') && !is_invisible('🦀'));
/// ```
#[must_use]
pub fn is_invisible(character: char) -> bool {
    character >= '\u{ad}' && RANGES.iter().any(|&(first, last)| (first..=last).contains(&character))
}
