//! A small disk that can be filled: a tmpfs.
//!
//! Mounting one needs root. Where the tests do not run as root they say so and fail: nothing is skipped unseen.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room for PostgreSQL's data and some segments of its log.
const SIZE: &str = "size=160m";

/// The disk; unmounted when dropped.
pub struct Disk {
    mount: tempfile::TempDir,
}

/// Whether we are an ordinary user.
pub fn is_user() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id is there");
    String::from_utf8_lossy(&id.stdout).trim() != "0"
}

impl Disk {
    pub fn mount() -> Self {
        assert!(
            !is_user(),
            "a full disk is a small tmpfs, and mounting one needs root: run these tests as root, or in \
             `unshare --map-root-user --mount` for those of SQLite"
        );
        let mount = tempfile::Builder::new().prefix("atlasd-disk").tempdir().expect("a temporary directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "none"]).arg(mount.path()).output();
        let output = mounted.expect("mount is there");
        assert!(output.status.success(), "mounting a tmpfs: {}", String::from_utf8_lossy(&output.stderr));
        Self { mount }
    }

    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the room that is left, to the last byte.
    pub fn fill(&self) {
        let ballast = std::fs::OpenOptions::new().create(true).append(true).open(self.ballast());
        let mut ballast = ballast.expect("a file can be made");
        let mut block = 1 << 20;
        let zeroes = vec![0; block];
        while block > 0 {
            match ballast.write(&zeroes[..block]) {
                Ok(0) | Err(_) => block /= 2,
                Ok(_) => {}
            }
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there is about to end.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}
