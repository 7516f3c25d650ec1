//! A wall clock that jumps: libfaketime, preloaded into the processes that are to be lied to.
//!
//! Only the wall clock: the monotonic clock goes on as on a real machine whose date is set.

use std::path::{Path, PathBuf};

/// What the processes that are started with its environment take for the time.
pub struct FakeClock {
    _directory: tempfile::TempDir,
    offset: PathBuf,
}

impl FakeClock {
    /// A clock that is right.
    pub fn right() -> Self {
        let directory =
            tempfile::Builder::new().prefix("atlasd-clock").tempdir().expect("a temporary directory");
        let offset = directory.path().join("offset");
        let clock = Self { _directory: directory, offset };
        // Another user's processes may read it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(clock.offset.parent().expect("it is in a directory"), open)
            .expect("it is ours");
        clock.set(0);
        clock
    }

    /// Sets it this many seconds off.
    pub fn set(&self, seconds: i64) {
        // Renamed into place: nobody reads half an offset.
        let fresh = self.offset.with_extension("fresh");
        std::fs::write(&fresh, format!("{seconds:+}")).expect("the directory is writable");
        std::fs::rename(&fresh, &self.offset).expect("the directory is writable");
    }

    /// For processes that go by this clock.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.clone()),
            ("FAKETIME_NO_CACHE", "1".into()),
            // Two names of one switch: an older and a newer version.
            ("DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_str().expect("UTF-8").to_owned())).into()
    }
}

/// The library, for programs with threads.
fn library() -> PathBuf {
    if let Some(path) = std::env::var_os("TEST_FAKETIME_LIB") {
        return path.into();
    }
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ];
    let libraries = places.iter().map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"));
    libraries.into_iter().find(|library| library.exists()).unwrap_or_else(|| {
        panic!("libfaketime was not found: run ./scripts/test, which installs it, or set TEST_FAKETIME_LIB to libfaketimeMT.so.1")
    })
}
