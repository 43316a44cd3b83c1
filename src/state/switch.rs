//! Booleans, in the words of other supervisors.
//!
//! Two readers take more words on purpose: `document::at`, as YAML and compose files also say `yes` and `no`, and
//! `config::values`, as any text switches a flag of the command line on.

/// Parses a boolean. `None`: the text is neither on nor off, and the default counts.
#[must_use]
pub fn parse_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" => Some(true),
        "0" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Whether a boolean is on. Any other text is off.
#[must_use]
pub fn is_on(text: &str) -> bool {
    parse_switch(text) == Some(true)
}
