//! The lock that keeps a second daemon away from a SQLite file: an exclusive lock on `<file>.lock`, released by the
//! operating system when the process ends in whatever way.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::error::StoreError;

/// Held as long as it lives. The file stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub struct SqliteLock {
    /// Dropping it releases the lock.
    _file: File,
}

impl SqliteLock {
    /// Locks the database file at `database`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it, [`StoreError::Unavailable`] when the file cannot be made.
    pub fn acquire(database: &Path) -> Result<Self, StoreError> {
        let path = lock_path(database);
        let unavailable = |source: std::io::Error| StoreError::Unavailable {
            operation: "locking the SQLite file",
            source: Box::new(source),
        };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(unavailable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { holder: read_holder(&mut file), file: path });
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(error)),
        }
        write_holder(&mut file).map_err(unavailable)?;
        Ok(Self { _file: file })
    }
}

/// Beside the file itself, by whatever name it is reached: two links to one database are one database.
fn lock_path(database: &Path) -> PathBuf {
    let real = database.canonicalize().unwrap_or_else(|_| in_real_directory(database));
    let mut path = real.into_os_string();
    path.push(".lock");
    PathBuf::from(path)
}

/// The path of a file that does not exist yet.
fn in_real_directory(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (parent.canonicalize(), file.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => file.to_owned(),
    }
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_of_a_file_are_one_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("a.db"), directory.path().join("b.db"));
        let _held = SqliteLock::acquire(&file).expect("nobody has it");
        std::fs::write(&file, "").expect("the directory is writable");
        std::os::unix::fs::symlink(&file, &link).expect("the directory takes a link");
        assert!(matches!(SqliteLock::acquire(&link), Err(StoreError::Locked { .. })));
    }
}
