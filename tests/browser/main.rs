//! The web page in a browser: Chromium without a window, driven through chromedriver, against a real daemon on the
//! sandbox's world. What a test clicks is what an administrator clicks.
//!
//! It needs `chromium` and `chromedriver` (`CHROMIUM` and `CHROMEDRIVER` name others than those of the `PATH`): without
//! them the tests fail, they are never passed over.

#[path = "../support/bed.rs"]
mod bed;
#[path = "../support/database.rs"]
mod support;

mod browser;
mod chrome;
mod world;

mod failures;
mod keyboard;
mod live;
mod login;
mod looks;
mod restore;
mod runs;
mod states;
