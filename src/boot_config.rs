//! Edits the file in which a board's firmware or boot loader is configured. Pure: bytes in, bytes out.
//!
//! What the target sets stands in a block of the agent's own, between two marks. A line of the file that sets the same key is
//! disabled: it becomes a comment, and stays where it is. Every other line is kept byte for byte. So the file itself remembers
//! what it had: without the block and with its lines enabled again it is the file that it was, whatever the agent remembers.
//! A person can do the same with an editor.
//!
//! ```text
//! variables   which of a target's settings concern the file, and what they want in it
//! block       the block, and the disabled lines
//! config_txt  Raspberry Pi's `config.txt`
//! u_env       `uEnv.txt` of BeagleBoard's images, `extra_uEnv.txt` of balenaOS
//! extlinux    `extlinux.conf`
//! ```

mod block;
mod config_txt;
mod extlinux;
#[cfg(test)]
mod tests;
mod u_env;
mod variables;

use crate::state::boot_config::{BootFormat, BootVariables};

use variables::Wanted;
pub use variables::variables;

/// The file with these variables in it, in place of those that an earlier call wrote. Error: why they cannot be in such a file.
pub fn with_variables(format: BootFormat, bytes: &[u8], variables: &BootVariables) -> Result<Vec<u8>, String> {
    let original = block::without(bytes);
    let wanted = Wanted::read(format, variables);
    if wanted.is_empty() {
        return Ok(original);
    }
    match format {
        BootFormat::ConfigTxt => Ok(config_txt::edited(&original, wanted)),
        BootFormat::UEnv => Ok(u_env::edited(&original, &wanted, &u_env::U_ENV)),
        BootFormat::ExtraUEnv => Ok(u_env::edited(&original, &wanted, &u_env::EXTRA_U_ENV)),
        BootFormat::Extlinux => extlinux::edited(&original, &wanted),
    }
}

/// What is wrong with these variables in such a file, each with what to do. They are left out of it.
#[must_use]
pub fn problems(format: BootFormat, variables: &BootVariables) -> Vec<String> {
    variables.iter().filter_map(|(name, value)| variables::problem(format, name, value)).collect()
}
