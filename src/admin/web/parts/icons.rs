//! Icons: lines on a grid of 24, in the colour of the text beside them, which says the same.

use maud::{Markup, Render, html};

/// An icon: the data of its paths.
#[derive(Clone, Copy, Debug)]
pub struct Icon(&'static [&'static str]);

/// The program itself.
pub const BRAND: Icon =
    Icon(&["M12 3 3.5 7.5 12 12l8.5-4.5L12 3Z", "m3.5 12 8.5 4.5 8.5-4.5", "m3.5 16.5 8.5 4.5 8.5-4.5"]);
/// The overview.
pub const OVERVIEW: Icon = Icon(&["M4 4h7v9H4z", "M13 4h7v5h-7z", "M13 11h7v9h-7z", "M4 15h7v5H4z"]);
/// The ledger.
pub const RUNS: Icon = Icon(&["M8 6h12", "M8 12h12", "M8 18h12", "M4 6h.01", "M4 12h.01", "M4 18h.01"]);
/// Directories.
pub const TENANTS: Icon = Icon(&[
    "M4 21V6l8-3 8 3v15",
    "M9 21v-5h6v5",
    "M9 9h.01",
    "M15 9h.01",
    "M9 12.5h.01",
    "M15 12.5h.01",
    "M2 21h20",
]);
/// Writing back.
pub const RESTORE: Icon = Icon(&["M4 5v5h5", "M4.5 10a8 8 0 1 1-.5 4", "M12 8v4.5l3 2"]);
/// What failed.
pub const FAILURES: Icon = Icon(&["M12 4 2.8 20h18.4L12 4Z", "M12 10v4.5", "M12 17.3h.01"]);
/// What the clock asks for.
pub const SCHEDULES: Icon = Icon(&["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z", "M12 7v5l3.5 2"]);
/// The daemon.
pub const SYSTEM: Icon =
    Icon(&["M12 8V5", "M9 2.5h6V6H9z", "M3 15h6v5H3z", "M15 15h6v5h-6z", "M6 15v-3h12v3"]);
/// Who changed what.
pub const AUDIT: Icon = Icon(&["M6 3h9l4 4v14H6z", "M14 3v5h5", "M9 13h6", "M9 17h6"]);
/// Light or dark.
pub const LOOK: Icon =
    Icon(&["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z", "M12 3v18", "M12 7.5h7", "M12 12h9", "M12 16.5h7"]);

impl Render for Icon {
    fn render(&self) -> Markup {
        html! {
            svg viewBox="0 0 24 24" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.8"
                stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" {
                @for path in self.0 { path d=(path) {} }
            }
        }
    }
}
