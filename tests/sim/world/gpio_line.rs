//! A GPIO line on the board's header, which the agent drives when asked to, and which another program may hold.

use boardkeeper::port::LedError;
use boardkeeper::state::{FreeLineInfo, LedRef, LineDirection, LineHolder};

/// The only line that the board leaves to its owner.
pub(crate) const NAME: &str = "GPIO5";

/// The line, and the agent's record of its former state.
pub(crate) struct GpioLine {
    direction: LineDirection,
    holder: LineHolder,
    /// The direction before the agent drove it. Outlives the agent, not a power cut.
    record: Option<LineDirection>,
}

impl GpioLine {
    /// As it is after a boot.
    pub(crate) const fn new() -> Self {
        Self { direction: LineDirection::Input, holder: LineHolder::None, record: None }
    }

    /// The agent's process is gone: the kernel releases the line, which keeps its direction.
    pub(crate) fn agent_died(&mut self) {
        if self.holder == LineHolder::Agent {
            self.holder = LineHolder::None;
        }
    }

    /// Another program holds it from now on.
    pub(crate) fn hold_by_another(&mut self) {
        self.holder = LineHolder::Other(Some("a driver".to_owned()));
    }

    /// Why the agent has not restored it, if so.
    pub(crate) fn unsettled(&self) -> Option<String> {
        self.record.map(|before| format!("{NAME} is still driven, and was {before}"))
    }

    /// As the kernel tells of it.
    pub(crate) fn info(&self) -> FreeLineInfo {
        FreeLineInfo {
            name: NAME.to_owned(),
            place: "pin 29 of the header".to_owned(),
            chip: "gpiochip0".to_owned(),
            offset: 5,
            direction: self.direction,
            holder: self.holder.clone(),
        }
    }

    /// Drives it. The agent has to play the pattern itself.
    pub(crate) fn drive(&mut self) -> Result<(), LedError> {
        if let LineHolder::Other(holder) = &self.holder {
            return Err(LedError::Busy(format!("{NAME} is held by {holder:?}")));
        }
        self.record.get_or_insert(self.direction);
        (self.direction, self.holder) = (LineDirection::Output, LineHolder::Agent);
        Ok(())
    }

    /// Restores it, if the agent drove it.
    pub(crate) fn restore(&mut self) {
        if let Some(before) = self.record.take() {
            (self.direction, self.holder) = (before, LineHolder::None);
        }
    }
}

/// The line of this name.
pub(crate) fn find(which: &LedRef) -> Result<(), LedError> {
    match which {
        LedRef::Line(name) if name == NAME => Ok(()),
        LedRef::Line(name) => Err(LedError::None(format!("there is no line {name}"))),
        LedRef::Identify | LedRef::Named(_) => Err(LedError::None("it is no line".to_owned())),
    }
}
