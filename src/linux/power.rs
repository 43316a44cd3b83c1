//! The machine's power: systemd-logind over D-Bus.
